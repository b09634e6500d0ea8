"""Find the cut that a full sweep would choose without evaluating every cut in full.

Documents come in rounds, in random order. After each round, a cut is dropped if there is
enough evidence against it being the best over *all* documents, which is the choice of the full
sweep. The evidence is the capital of a player who bets against it (:mod:`.betting`); with an error
rate of 0.2, five times the initial capital is enough.

No further correction is needed. Only dropping the full sweep's choice is an error, and that is a
single cut, against which the capital ever grows so much with probability 0.2 at most.

All cuts in the race are evaluated on the same documents, so that they can share forward passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .aggregates import Array
from .betting import Bets
from .scores import Name

# the clearest losers among 31 boundaries are dropped after 5 to 10 documents
FIRST_ROUND = 6
# More rounds do not raise the error rate, and save some more evaluations, but few documents at a
# time make small batches.
GROWTH = 1.1
FEWEST_PER_ROUND = 3
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
        while (
            fewer := min(math.ceil(rounds[-1] / GROWTH), rounds[-1] - FEWEST_PER_ROUND)
        ) >= FIRST_ROUND:
            rounds.append(fewer)
        self.rounds = rounds[::-1]
        self.live: list[Name] = list(cuts)
        self.dropped: list[Dropped] = []
        self._error_rate = error_rate
        self._sign = 1.0 if higher_is_better else -1.0
        self._finished = 0  # number of rounds
        self._bets = Bets(len(cuts), documents)
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
        documents = self.rounds[self._finished]
        columns = self._columns(values, documents)
        self._finished += 1
        self._bet(columns)
        if self.done:
            return []

        totals = self._bets.totals
        best = int(totals.argmax())
        evidence = self._bets.evidence
        # the capital won from an early lead can outlast the lead
        out = (evidence >= -math.log(self._error_rate)) & (totals < totals[best])
        differences = (columns - columns[:, [best]]).mean(axis=0).tolist()
        dropped = [
            Dropped(cut, documents, self.live[best], differences[i], math.exp(-evidence[i]))
            for i, cut in enumerate(self.live)
            if out[i]
        ]
        self.dropped += dropped
        self.live = [cut for i, cut in enumerate(self.live) if not out[i]]
        self._bets.keep(~out)
        return dropped

    def _bet(self, columns: Array) -> None:
        """Bet on the documents that are new, in values of shape (documents, live cuts)."""
        seen, bounded = len(self._lows), self._bounded()
        self._lows = np.concatenate([self._lows, columns[seen:].min(axis=1)])
        self._highs = np.concatenate([self._highs, columns[seen:].max(axis=1)])
        if bounded and not self._bounded():
            # what was won within limits that do not hold is void
            self._bets = Bets(len(self.live), self.rounds[-1])
        first = self._bets.documents
        self._bets.play(self._sign * columns[first:], self._limits()[first:])

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

    def _bounded(self) -> bool:
        """Return whether all values so far are within 0 and 1."""
        return bool((self._lows >= 0).all() and (self._highs <= 1).all())

    def _limits(self) -> Array:
        """Return the largest difference to expect before each document, and after the last."""
        if self._bounded():
            return np.ones(len(self._lows) + 1)
        ranges = np.maximum.accumulate(self._highs) - np.minimum.accumulate(self._lows)
        return _RANGES * np.concatenate([[0.0], ranges])
