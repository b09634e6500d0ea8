"""Paired statistics over documents: every column (boundary, model) answered the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.stats

from .statistic import Array, Statistic

DRAWS = 10_000
COSTLY_DRAWS = 2_000
SEED = 1234
LEVEL = 0.95
_AT_ONCE = 250


@dataclass(frozen=True)
class Difference:
    """How columns differ from a reference column; every array has shape (columns,).

    Attributes:
        value: The difference.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p_value: Two-sided, of no difference, for one column at a time: exact McNemar where
            documents are right or wrong, of the bootstrap elsewhere.
        simultaneous_low: Lower end of the interval that holds for all columns at once, thus also
            for one that was chosen by looking at them.
        simultaneous_high: Upper end.
        p_simultaneous: Two-sided, corrected in the same way.
        loss_risk: Share of draws in which the column is worse than the reference.
    """

    value: Array
    low: Array
    high: Array
    p_value: Array
    simultaneous_low: Array
    simultaneous_high: Array
    p_simultaneous: Array
    loss_risk: Array


class Bootstrap:
    """Documents drawn with replacement, the same ones for all columns.

    Attributes:
        observed: The metric on the documents themselves, shape (columns,).
        draws: The metric on drawn documents, shape (draws, columns).
    """

    def __init__(
        self, statistic: Statistic, *, higher_is_better: bool = True, draws: int | None = None
    ) -> None:
        """Draw.

        Args:
            statistic: The metric.
            higher_is_better: Whether large values are good.
            draws: Number of draws; None for 10,000, or 2,000 of a costly metric.

        Raises:
            ValueError: There are fewer than two documents.
        """
        self._documents = statistic.documents
        if self._documents < 2:
            raise ValueError(f"expected at least 2 documents, got {self._documents}")
        self._statistic = statistic
        self._sign = 1.0 if higher_is_better else -1.0
        self.observed = statistic.observed
        count = draws or (COSTLY_DRAWS if statistic.costly else DRAWS)
        generator = np.random.default_rng(SEED)
        equal = np.full(self._documents, 1 / self._documents)
        # how often each document is drawn, the same for all columns; some draws at a time
        self.draws: Array = np.concatenate(
            [
                statistic.resampled(
                    generator.multinomial(self._documents, equal, size=min(_AT_ONCE, count - start))
                )
                for start in range(0, count, _AT_ONCE)
            ]
        )

    @cached_property
    def _tails(self) -> list[float]:
        """Return the percentiles whose interval covers 95 %.

        Percentiles of draws are too narrow by sqrt((n - 1) / n), and by a normal quantile in
        place of Student's: the expanded percentile interval (Hesterberg 2015, What Teachers
        Should Know About the Bootstrap, section 5.2) makes up for both.
        """
        n = self._documents
        far = float(scipy.stats.t.ppf((1 + LEVEL) / 2, n - 1)) * np.sqrt(n / (n - 1))
        tail = 100 * float(scipy.stats.norm.sf(far))
        return [tail, 100 - tail]

    def interval(self) -> tuple[Array, Array]:
        """Return the 95 % intervals of the values themselves, shape (columns,) each."""
        low, high = np.percentile(self.draws, self._tails, axis=0)
        return low, high

    @cached_property
    def winners(self) -> npt.NDArray[np.int64]:
        """The best column of each draw, the first of equals, shape (draws,)."""
        # rounding must not break ties
        found: npt.NDArray[np.int64] = np.round(self._sign * self.draws, 12).argmax(axis=1)
        return found

    @property
    def best(self) -> int:
        """The best column, the first of equals."""
        return int(np.round(self._sign * self.observed, 12).argmax())

    def win_rate(self) -> Array:
        """Return the share of draws in which each column is the best, shape (columns,)."""
        return np.bincount(self.winners, minlength=len(self.observed)) / len(self.draws)

    def optimism(self) -> float:
        """Return by how much the best column looks better than it is, since it was chosen.

        That is the mean, over draws, of the largest deviation among the columns that the best is
        not significantly better than: what chance lifts the luckiest of them by. The bootstrap of
        the chosen column alone, value in the draw minus value on all documents, finds two thirds
        of it when columns are equally good, since the draws inherit the luck of the documents.
        """
        deviations = self._sign * (self.draws - self.observed)[:, self.not_worse()]
        return float(deviations.max(axis=1).mean())

    def difference(self, reference: int) -> Difference:
        """Compare all columns with one of them.

        The bootstrap's p-value is the share of draws, centred on the observed difference, that
        are at least as far from it as zero is, plus one (Davison & Hinkley 1997, Bootstrap
        Methods and their Application, section 4.4). What holds for all columns at once comes from
        the largest studentised deviation of each draw (single-step max-T: Westfall & Young 1993,
        Resampling-Based Multiple Testing, section 2.6).
        """
        drawn = self.draws - self.draws[:, [reference]]
        value = self.observed - self.observed[reference]
        low, high = np.percentile(drawn, self._tails, axis=0)
        centred = np.abs(drawn - value)
        spread = drawn.std(axis=0)
        moves = spread > 1e-12
        far = centred >= np.abs(value) - 1e-12
        p_value = (1 + far.sum(axis=0)) / (1 + len(drawn))
        largest = np.zeros(len(drawn))
        if moves.any():
            largest = (centred[:, moves] / spread[moves]).max(axis=1)
        reach = np.percentile(largest, 100 * LEVEL) * spread
        own = np.divide(np.abs(value), spread, out=np.zeros_like(value), where=moves)
        p_largest = (1 + (largest[:, None] >= own - 1e-12).sum(axis=0)) / (1 + len(drawn))
        binary = self._statistic.binary
        if binary is not None:
            p_value = np.array([mcnemar(column, binary[:, reference]) for column in binary.T])
        return Difference(
            value,
            low,
            high,
            p_value,
            value - reach,
            value + reach,
            # one that differs by the same amount on every document differs for certain
            np.where(moves, p_largest, np.where(np.abs(value) > 1e-12, 1 / (1 + len(drawn)), 1.0)),
            (self._sign * drawn < -1e-12).mean(axis=0),
        )

    def not_worse(self) -> npt.NDArray[np.bool_]:
        """Tell which columns the best one is not significantly better than, shape (columns,)."""
        same: npt.NDArray[np.bool_] = self.difference(self.best).p_value > 1 - LEVEL
        same[self.best] = True
        return same


def mcnemar(a: Array, b: Array) -> float:
    """Return the exact two-sided p-value of McNemar's test.

    Args:
        a: 1 for every document that one side got right, 0 for the others, shape (documents,).
        b: The same of the other side.
    """
    gained, lost = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    if gained + lost == 0:
        return 1.0
    return float(scipy.stats.binomtest(gained, gained + lost).pvalue)


def holm(p_values: Array) -> Array:
    """Return p-values corrected for their number (Holm 1979, Scand. J. Statist. 6, 65-70).

    Args:
        p_values: One per hypothesis, shape (hypotheses,).
    """
    order = np.argsort(p_values, kind="stable")
    steps = (len(p_values) - np.arange(len(p_values))) * np.asarray(p_values)[order]
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
