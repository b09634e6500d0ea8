"""Choose the boundary that a full sweep would choose, without evaluating every boundary in full.

Documents come in rounds, in random order. After each round, a boundary is dropped if what was
seen is evidence enough against its being the best over *all* documents, which is what the
exhaustive sweep would choose.

The evidence is a test by betting. Were boundary ``k`` the best, no challenger could end ahead of
it: what the challenger leads by after some documents, ``k`` would win back over the remaining
ones. Betting on the challenger against that expectation is then a fair game or worse, and the
capital of a player who starts with 1 reaches 1/α with probability at most α, however often one
looks (Ville, 1939). A lead that the remaining documents can hardly undo makes the capital
explode: this is the finite-population correction, without any variance or normal approximation.
The game is that of Waudby-Smith & Ramdas (2024), "Estimating means of bounded random variables
by betting", J. R. Stat. Soc. B 86, for sampling without replacement. Against each boundary the
player splits the capital over all challengers and two sizes of bets, as do Ek, Stark, Stuckey &
Vukcevic (2023), "Adaptively weighted audits of instant-runoff voting elections", E-Vote-ID.

This is also how the error rate is spent. One boundary alone is the exhaustive choice, and only
dropping that one is an error, so that the number of boundaries needs no correction; Ville's
inequality covers all rounds; splitting the capital covers the challengers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# the clearest losers among 31 boundaries are out after 8 to 15 documents
FIRST_ROUND = 12
# looking often costs no error rate, only the overhead of a round
GROWTH = 1.2
# parts of the largest stake that cannot lose more than itself; small leads want small bets
BETS = (0.5, 0.9)
# a metric without known bounds may surprise by a difference this many times the range seen
MARGIN = 2.0


@dataclass(frozen=True)
class Dropped:
    """A boundary that is out of the race.

    Attributes:
        boundary: The boundary.
        documents: Number of documents that it was evaluated on.
        leader: The boundary with the best mean over these.
        difference: Mean of its values minus the leader's, in units of the metric.
        p_value: Bound on the probability of as much evidence, ever, against the best boundary.
    """

    boundary: int
    documents: int
    leader: int
    difference: float
    p_value: float


class Race:
    """Successive elimination of boundaries on paired differences.

    With probability at least ``1 - error_rate`` over the random order, the boundary with the best
    mean over all documents, the smallest of them in a tie, is never dropped. That is exact, at
    any number of documents, for metrics within 0 and 1. No test of a mean can be exact for
    others, since one document may outweigh all the rest; there, the bets reckon with differences
    twice as large as the range of values seen so far.

    Boundaries with identical values cannot be told apart and stay or go together; if they lead,
    they stay to the end, and the sweep's rule for ties decides.

    Attributes:
        order: The documents in the order to evaluate them.
        rounds: Cumulative numbers of documents; the last is ``documents``.
        live: Boundaries still in the race, ascending.
        dropped: Boundaries that are out, in the order of dropping.
        evaluations: Evaluations of one document under one boundary so far.
    """

    def __init__(
        self,
        boundaries: Sequence[int],
        documents: int,
        *,
        error_rate: float = 0.05,
        higher_is_better: bool = True,
        seed: int = 1234,
    ) -> None:
        """Line up.

        Args:
            boundaries: Distinct boundaries.
            documents: How many documents an exhaustive sweep would use.
            error_rate: Largest probability that the exhaustive sweep's choice is dropped.
            higher_is_better: Whether large values of the metric are good.
            seed: Of the order of documents.

        Raises:
            ValueError: There is nothing to race, or no such error rate.
        """
        if not boundaries or len(set(boundaries)) < len(boundaries):
            raise ValueError(f"expected distinct boundaries, at least one; got {boundaries!r}")
        if documents < 1 or not 0 < error_rate < 1:
            raise ValueError(
                "expected at least one document and an error rate between 0 and 1; got "
                f"{documents} and {error_rate}"
            )
        self.order: list[int] = np.random.default_rng(seed).permutation(documents).tolist()
        # down from all documents, so that the last drop is well before the end
        rounds = [documents]
        while (fewer := math.ceil(rounds[-1] / GROWTH)) >= FIRST_ROUND and fewer < rounds[-1]:
            rounds.append(fewer)
        self.rounds = rounds[::-1]
        self.live = sorted(boundaries)
        self.dropped: list[Dropped] = []
        self.evaluations = 0
        self._boundaries = len(boundaries)
        self._error_rate = error_rate
        self._sign = 1.0 if higher_is_better else -1.0
        self._finished = 0  # rounds
        # lowest and highest value on each document, over the boundaries live at the time
        self._lows = self._highs = np.empty(0)

    @property
    def saved(self) -> float:
        """Evaluations of an exhaustive sweep divided by those spent so far."""
        exhaustive = self._boundaries * self.rounds[-1]
        return exhaustive / self.evaluations if self.evaluations else math.inf

    @property
    def done(self) -> bool:
        """Whether all rounds are over or one boundary is left, which is then the choice."""
        return self._finished == len(self.rounds) or len(self.live) == 1

    def update(self, values: Mapping[int, npt.ArrayLike]) -> list[Dropped]:
        """Finish a round: drop what is out. The last round drops nothing.

        Args:
            values: Of the metric, for every live boundary, on the first documents of ``order``,
                as many as the next entry of ``rounds``.

        Returns:
            What was dropped now, ascending.

        Raises:
            ValueError: The values are not those, or not all finite, or all rounds are over.
        """
        if self._finished == len(self.rounds):
            raise ValueError("all rounds are over")
        seen, documents = len(self._lows), self.rounds[self._finished]
        columns = self._columns(values, documents)
        self._finished += 1
        self.evaluations += len(self.live) * (documents - seen)
        self._lows = np.concatenate([self._lows, columns[seen:].min(axis=1)])
        self._highs = np.concatenate([self._highs, columns[seen:].max(axis=1)])
        if self.done:
            return []

        scores = self._sign * columns
        totals = scores.sum(axis=0)
        best = int(totals.argmax())
        against = evidence(scores, self.rounds[-1], self._limits(), self._boundaries)
        # evidence may outlive the lead that it came from
        out = (against >= -math.log(self._error_rate)) & (totals < totals[best])
        now = [
            Dropped(self.live[i], documents, self.live[best], float(gap), math.exp(-against[i]))
            for i, gap in enumerate((columns - columns[:, [best]]).mean(axis=0))
            if out[i]
        ]
        self.dropped += now
        self.live = [boundary for i, boundary in enumerate(self.live) if not out[i]]
        return now

    def _columns(self, values: Mapping[int, npt.ArrayLike], documents: int) -> Array:
        """Return checked values, shape (documents, live boundaries)."""
        if set(values) != set(self.live):
            raise ValueError(
                f"expected values of the live boundaries {self.live}; got those of {sorted(values)}"
            )
        columns = [np.asarray(values[boundary], dtype=np.float64) for boundary in self.live]
        for boundary, column in zip(self.live, columns, strict=True):
            if column.shape != (documents,):
                raise ValueError(
                    f"expected {documents} values of boundary {boundary}; got shape {column.shape}"
                )
        matrix = np.stack(columns, axis=1)
        for row, column_index in np.argwhere(~np.isfinite(matrix))[:1]:
            raise ValueError(
                f"boundary {self.live[column_index]} has the value {matrix[row, column_index]} on "
                f"document {self.order[row]}; a race needs finite values"
            )
        return matrix

    def _limits(self) -> Array:
        """Return the largest difference reckoned with before each document, and after the last."""
        if self._lows.min() >= 0 and self._highs.max() <= 1:
            return np.ones(len(self._lows) + 1)
        ranges = np.maximum.accumulate(self._highs) - np.minimum.accumulate(self._lows)
        return MARGIN * np.concatenate([[0.0], ranges])


def evidence(scores: Array, documents: int, limits: Array, boundaries: int) -> Array:
    """Return the evidence against each boundary's being the best over all documents.

    Args:
        scores: Of the documents seen so far, in random order, shape (seen, live boundaries);
            higher is better.
        documents: How many there are in all.
        limits: Largest difference between two scores, as known before each document and after
            the last, shape (seen + 1,).
        boundaries: How many boundaries there were at the start.

    Returns:
        Natural logarithms of the player's capital, shape (live boundaries,).
    """
    seen, live = scores.shape
    remaining = documents - np.arange(seen)[:, None]
    capital = np.full(live, -np.inf)
    for challenger in range(live):
        gains = scores[:, [challenger]] - scores
        leads = gains.cumsum(axis=0)
        # at best for the challenger, its lead melts evenly
        expected = -(leads - gains) / remaining
        # what a stake of 1 can lose at most
        risk = limits[:-1, None] + expected
        returns = np.divide(
            gains - expected, risk, out=np.zeros_like(gains), where=risk > 1e-9 * limits[:-1, None]
        )
        for bet in BETS:
            with np.errstate(divide="ignore"):  # only beyond unknown limits is all lost
                won = np.log1p(np.maximum(bet * returns, -1.0)).sum(axis=0)
            won[challenger] = -np.inf  # nothing is staked on a boundary against itself
            capital = np.logaddexp(capital, won)
        # the remaining documents cannot turn the tables
        capital[leads[-1] > limits[-1] * (documents - seen + 1e-9)] = np.inf
    return capital - math.log(len(BETS) * max(boundaries - 1, 1))
