"""Evidence that a cut is not the best over all documents, from those seen so far.

A player bets against every cut. Suppose that cut ``k`` is the best over all documents, and that
another cut ``j`` leads it by ``lead`` on those seen. Then ``k`` wins this back: over the
``remaining`` documents, ``x_j - x_k`` adds up to ``-lead`` or less. In random order, each of them
is as likely as any other to be the next one, so

    E[x_j - x_k, given what was seen] <= -lead / remaining

and a player who stakes ``s >= 0`` before the next document and is then paid
``s * (x_j - x_k + lead / remaining)`` plays a fair game or worse. If no stake can lose more than
all, the capital starts at 1, never becomes negative, and does not grow on average. So it ever
reaches ``1 / error_rate`` with probability at most ``error_rate``, no matter how often one looks
(Ville 1939). This is the game of Waudby-Smith & Ramdas (2024), "Estimating means of bounded random
variables by betting", J. R. Stat. Soc. B 86, for sampling without replacement. ``lead / remaining``
is its finite-population correction; there is neither a variance nor a normal approximation in it.

The inequality holds for every ``j``, thus also for a mean of several. Which ones, and the stake,
may depend on everything seen before. The player bets on the cut that leads at that moment, or on
the mean of those that share the lead. Capital that is split over all challengers, as in audits of
elections (Ek, Stark, Stuckey & Vukcevic 2023), would have to grow up to as many times more as there
are challengers.

The stake decides how fast evidence grows, not whether it is right. The logarithm of the capital
grows by about ``s * m - s**2 * q / 2`` if ``m`` is the mean of what a stake of 1 is paid, and ``q``
the mean square of ``x_j - x_k``; that is largest at ``m / q`` (Kelly 1956). Both are estimated from
the documents seen so far. The player stakes somewhat less, since the leader has also had luck.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .aggregates import Array

# fraction of the stake that would be best if the estimates were right; 0.5 to 1 do equally well
BOLDNESS = 0.6
# largest fraction of the capital that one document may cost
MOST = 0.95
# Before the first document, the mean square is that of one imaginary document, in squares of the
# largest possible difference.
PRIOR_SQUARE = 0.1


class Bets:
    """The capital of players who bet against cuts.

    Attributes:
        documents: Number of documents seen.
        totals: Sum of the scores of each cut, shape (cuts,).
        log_capital: Natural logarithm of the capital against each cut, shape (cuts,).
        evidence: The largest logarithm so far, or infinity if a cut can no longer be the best,
            shape (cuts,).
    """

    def __init__(self, cuts: int, documents: int) -> None:
        """Start with a capital of 1 against each cut.

        Args:
            cuts: Number of cuts.
            documents: Number of all documents.
        """
        self._all = documents
        self.documents = 0
        self.totals: Array = np.zeros(cuts)
        self.log_capital: Array = np.zeros(cuts)
        self.evidence: Array = np.zeros(cuts)
        self._squares: Array = np.zeros(cuts)  # of the leader's gains on each cut, summed

    def play(self, scores: Array, limits: Array) -> None:
        """Bet on one document after the other.

        Args:
            scores: Scores on the next documents, shape (documents, cuts); higher is better.
            limits: Largest possible difference between two scores, as known before each document
                and after the last, shape (documents + 1,).
        """
        for row, limit in zip(scores, limits[:-1].tolist(), strict=True):
            self._bet(row, limit)
        # the remaining documents cannot make up for this lead
        certain = self._leads() > limits[-1] * (self._all - self.documents + 1e-9)
        self.evidence[certain] = np.inf

    def keep(self, kept: npt.NDArray[np.bool_]) -> None:
        """Go on with some of the cuts.

        Args:
            kept: Which ones, shape (cuts,).
        """
        self.totals, self._squares = self.totals[kept], self._squares[kept]
        self.log_capital, self.evidence = self.log_capital[kept], self.evidence[kept]

    def _leads(self) -> Array:
        leads: Array = self.totals.max() - self.totals
        return leads

    def _bet(self, scores: Array, limit: float) -> None:
        """Bet on a document."""
        leads = self._leads()
        gains = scores[leads == 0].mean() - scores
        back = leads / (self._all - self.documents)  # what a cut in the lead has to give back
        risk = limit - back  # the most that a stake of 1 can lose
        possible = risk > 1e-9 * limit
        if possible.any():
            squares = self._squares + PRIOR_SQUARE * limit**2
            # nothing is staked against the leaders themselves: their mean is 0
            mean = leads / (self.documents + 1) + back
            stake = BOLDNESS * mean * (self.documents + 1) / squares
            largest = np.divide(MOST, risk, out=np.zeros_like(risk), where=possible)
            won = np.minimum(stake, largest) * (gains + back)
            with np.errstate(divide="ignore"):  # all is lost only if a limit was too low
                self.log_capital += np.log1p(np.maximum(won, -1.0))
            np.maximum(self.evidence, self.log_capital, out=self.evidence)
        self.documents += 1
        self.totals += scores
        self._squares += gains**2
