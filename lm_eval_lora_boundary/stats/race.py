"""Find the cut that a full sweep would choose without evaluating every cut in full.

Documents come in rounds, in random order. After each round, a cut is dropped if there is
enough evidence against it being the best over *all* documents, which is the choice of the full
sweep.

The evidence is a test by betting. If cut ``k`` is the best, no challenger can end up ahead of
it: whatever lead the challenger has after some documents, ``k`` wins back over the remaining ones.
Betting on the challenger against that expectation is then a fair game or worse: starting from a
capital of 1, a player reaches 1/α with probability at most α, no matter how often one looks (Ville
1939). A lead that the remaining documents can hardly undo makes the capital explode; this is the
finite-population correction, without a variance or a normal approximation. The game is that of
Waudby-Smith & Ramdas (2024), "Estimating means of bounded random variables by betting", J. R. Stat.
Soc. B 86, for sampling without replacement. Against each cut the player splits the capital
over all challengers and two sizes of bets, as in Ek, Stark, Stuckey & Vukcevic (2023), "Adaptively
weighted audits of instant-runoff voting elections", E-Vote-ID.

No further correction is needed. Only dropping the full sweep's choice is an error, and that is a
single cut; Ville's inequality covers all rounds; splitting the capital covers all challengers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .aggregates import Array
from .selection import Name

# the clearest losers among 31 boundaries are dropped after 8 to 15 documents
FIRST_ROUND = 12
# more rounds do not raise the error rate; they only add overhead
GROWTH = 1.2
# fractions of the largest stake that cannot lose more than the capital; small leads need small bets
BETS = (0.5, 0.9)
# for a metric without known bounds: the largest difference expected, in ranges seen so far
_RANGES = 2.0


@dataclass(frozen=True)
class Dropped:
    """A cut that was dropped.

    Attributes:
        cut: Its name.
        documents: Number of documents that it was evaluated on.
        leader: The cut with the best mean over these documents.
        difference: Its mean minus the leader's.
        p_value: Upper bound on the probability of ever having this evidence against the best one.
    """

    cut: Name
    documents: int
    leader: Name
    difference: float
    p_value: float


class Race:
    """Successive elimination of cuts on paired differences.

    With probability at least ``1 - error_rate`` over the random order, the cut with the best mean
    over all documents (the first in a tie) is never dropped. For metrics within [0, 1] this
    is exact with any number of documents. For others no test of a mean can be exact, since one
    document may outweigh all others; their bets assume that no difference is larger than twice the
    range of values seen so far.

    Cuts with identical values stay or go together. If they lead, they stay to the end, and
    the sweep's rule for ties decides.

    Attributes:
        order: The documents in the order to evaluate them.
        rounds: Number of documents seen by the end of each round; the last is ``documents``.
        live: Cuts still in the race, in their order.
        dropped: Dropped cuts, the first dropped first.
    """

    def __init__(
        self,
        cuts: Sequence[Name],
        documents: int,
        *,
        error_rate: float = 0.05,
        higher_is_better: bool = True,
        seed: int = 1234,
    ) -> None:
        """Shuffle the documents and plan the rounds.

        Args:
            cuts: The names of distinct cuts, from the smallest to the largest.
            documents: Number of documents that a full sweep would use.
            error_rate: Largest probability of dropping the full sweep's choice.
            higher_is_better: Whether larger values of the metric are better.
            seed: Seed of the order of documents.

        Raises:
            ValueError: There are no cuts or documents, or the error rate is not in (0, 1).
        """
        if not cuts or len(set(cuts)) < len(cuts):
            raise ValueError(f"expected at least one cut, all distinct; got {cuts!r}")
        if documents < 1 or not 0 < error_rate < 1:
            raise ValueError(
                "expected at least one document and an error rate between 0 and 1; got "
                f"{documents} and {error_rate}"
            )
        self.order: list[int] = np.random.default_rng(seed).permutation(documents).tolist()
        # backwards from all documents, so that the last drop comes well before the end
        rounds = [documents]
        while (fewer := math.ceil(rounds[-1] / GROWTH)) >= FIRST_ROUND and fewer < rounds[-1]:
            rounds.append(fewer)
        self.rounds = rounds[::-1]
        self.live: list[Name] = list(cuts)
        self.dropped: list[Dropped] = []
        self._cuts = len(cuts)
        self._error_rate = error_rate
        self._sign = 1.0 if higher_is_better else -1.0
        self._finished = 0  # number of rounds
        # lowest and highest value on each document, over the cuts that were live then
        self._lows = self._highs = np.empty(0)

    @property
    def done(self) -> bool:
        """Whether all rounds are over, or only one cut is left, which is then the choice."""
        return self._finished == len(self.rounds) or len(self.live) == 1

    def update(self, values: Mapping[Name, npt.ArrayLike]) -> list[Dropped]:
        """Finish a round and return the cuts it drops, in order. The last round drops none.

        Args:
            values: For every live cut, the metric on the first documents of ``order``, as
                many as the next entry of ``rounds`` says.

        Raises:
            ValueError: Values are missing, unexpected or not finite, or all rounds are over.
        """
        if self._finished == len(self.rounds):
            raise ValueError("all rounds are over")
        seen, documents = len(self._lows), self.rounds[self._finished]
        columns = self._columns(values, documents)
        self._finished += 1
        self._lows = np.concatenate([self._lows, columns[seen:].min(axis=1)])
        self._highs = np.concatenate([self._highs, columns[seen:].max(axis=1)])
        if self.done:
            return []

        scores = self._sign * columns
        totals = scores.sum(axis=0)
        best = int(totals.argmax())
        log_capital = evidence(scores, self.rounds[-1], self._limits(), self._cuts)
        # the capital won from an early lead can outlast the lead
        out = (log_capital >= -math.log(self._error_rate)) & (totals < totals[best])
        differences = (columns - columns[:, [best]]).mean(axis=0).tolist()
        dropped = [
            Dropped(cut, documents, self.live[best], differences[i], math.exp(-log_capital[i]))
            for i, cut in enumerate(self.live)
            if out[i]
        ]
        self.dropped += dropped
        self.live = [cut for i, cut in enumerate(self.live) if not out[i]]
        return dropped

    def _columns(self, values: Mapping[Name, npt.ArrayLike], documents: int) -> Array:
        """Check the values and return them with shape (documents, live cuts)."""
        if set(values) != set(self.live):
            raise ValueError(f"expected values of the live cuts {self.live}; got {list(values)}")
        columns = [np.asarray(values[cut], dtype=np.float64) for cut in self.live]
        for cut, column in zip(self.live, columns, strict=True):
            if column.shape != (documents,):
                raise ValueError(
                    f"cut {cut}: expected {documents} values; got shape {column.shape}"
                )
        matrix = np.stack(columns, axis=1)
        for row, i in np.argwhere(~np.isfinite(matrix))[:1]:
            raise ValueError(
                f"cut {self.live[i]} has the value {matrix[row, i]} on document "
                f"{self.order[row]}; a race needs finite values"
            )
        return matrix

    def _limits(self) -> Array:
        """Return the largest difference to expect before each document, and after the last."""
        if self._lows.min() >= 0 and self._highs.max() <= 1:
            return np.ones(len(self._lows) + 1)
        ranges = np.maximum.accumulate(self._highs) - np.minimum.accumulate(self._lows)
        return _RANGES * np.concatenate([[0.0], ranges])


def evidence(scores: Array, documents: int, limits: Array, cuts: int) -> Array:
    """Return the evidence against each cut being the best over all documents.

    Args:
        scores: Scores on the documents seen so far, in random order, shape (seen, live
            cuts); higher is better.
        documents: Number of all documents.
        limits: Largest possible difference between two scores, as known before each document and
            after the last, shape (seen + 1,).
        cuts: Number of cuts at the start.

    Returns:
        Natural logarithm of the player's capital, shape (live cuts,).
    """
    seen, live = scores.shape
    remaining = documents - np.arange(seen)[:, None]
    log_capital = np.full(live, -np.inf)
    for challenger in range(live):
        gains = scores[:, [challenger]] - scores
        leads = gains.cumsum(axis=0)
        # the best case for the challenger: its lead melts evenly over the remaining documents
        expected = -(leads - gains) / remaining
        # the most that a stake of 1 can lose
        risk = limits[:-1, None] + expected
        returns = np.divide(
            gains - expected, risk, out=np.zeros_like(gains), where=risk > 1e-9 * limits[:-1, None]
        )
        for bet in BETS:
            with np.errstate(divide="ignore"):  # all is lost only if a limit was too low
                log_won = np.log1p(np.maximum(bet * returns, -1.0)).sum(axis=0)
            log_won[challenger] = -np.inf  # a cut is not its own challenger
            log_capital = np.logaddexp(log_capital, log_won)
        # the remaining documents cannot make up for this lead
        log_capital[leads[-1] > limits[-1] * (documents - seen + 1e-9)] = np.inf
    return log_capital - math.log(len(BETS) * max(cuts - 1, 1))
