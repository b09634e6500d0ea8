"""Paired statistics over documents: every column (boundary, model) answered the same ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.stats

from .aggregates import Array
from .permutation import LEVEL, Judged, exchanges, judge_draws, judge_means
from .statistic import Statistic

logger = logging.getLogger("lm_eval.lora_boundary")

DRAWS = 10_000
COSTLY_DRAWS = 2_000
# with fewer draws no p-value of 30 boundaries can be significant after Holm
LEAST_DRAWS = 1_000
BUDGET = 60.0  # seconds for the statistics of a metric
SEED = 1234
_AT_ONCE = 250


@dataclass(frozen=True)
class Difference(Judged):
    """How columns differ from a reference column; every array has shape (columns,).

    All but ``value`` and ``loss_risk`` come from exchanging answers (:mod:`paired`): ``p_value``
    is that of the exact McNemar test where documents are right or wrong, of a sign-flip test for
    other means, of approximate randomisation for the rest. Intervals leave out zero only where the
    test of the same kind, single or simultaneous, rejects at 5 %.

    Attributes:
        value: The difference.
        loss_risk: Share of draws of documents in which the column is worse than the reference.
    """

    value: Array
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
        self._found: dict[int, Difference] = {}
        self.draws: Array = np.concatenate(
            [
                statistic.resampled(
                    generator.multinomial(self._documents, equal, size=min(_AT_ONCE, count - start))
                )
                for start in range(0, count, _AT_ONCE)
            ]
        )

    def take(self, columns: Sequence[int]) -> Bootstrap:
        """Return the same draws of some columns."""
        taken = copy(self)
        for name in ("winners", "_tails"):  # cached
            taken.__dict__.pop(name, None)
        taken._statistic = self._statistic.take(columns)
        taken._found = {}
        taken.observed = self.observed[columns]
        taken.draws = self.draws[:, columns]
        return taken

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

        Among the columns that the best is not significantly better than, suppose that all are
        equally good: each draw then has the luckiest of them, by its deviation from its own mean
        over draws. What is returned is how lucky the best column is in the draws in which it is
        that luckiest one; if it hardly ever is, in the hundredth in which it comes closest. The
        bootstrap of the chosen column alone, value in the draw minus value on all documents, finds
        two thirds of that when columns are equally good, since the draws inherit the luck of the
        documents; and the luck of columns with more spread is none of a steady one's.

        Returns:
            The optimism, at least 0, in units of the metric; to be taken off where more is
            better, added where less is. Exactly 0 if nothing was chosen among different columns.
        """
        same = np.flatnonzero(self.not_worse())
        luck = self._sign * (self.draws - self.draws.mean(axis=0))
        own = luck[:, self.best]
        behind = luck[:, same].max(axis=1) - own
        near = behind <= max(1e-12, float(np.quantile(behind, 0.01)))
        found = float(own[near].mean())
        return found if found > 1e-12 else 0.0

    def difference(self, reference: int) -> Difference:
        """Compare all columns with one of them."""
        if reference not in self._found:
            self._found[reference] = self._difference(reference)
        return self._found[reference]

    def _difference(self, reference: int) -> Difference:
        statistic, n = self._statistic, self._documents
        exchanged = np.concatenate(
            [statistic.exchanged(signs, reference) for signs in exchanges(n, len(self.draws), SEED)]
        )
        drawn = self.draws - self.draws[:, [reference]]
        value = self.observed - self.observed[reference]
        if statistic.values is not None:
            binary, values = statistic.binary, statistic.values
            exact = None
            # shares and scores may reach from 0 to 1, if these do not
            within = 0 <= values.min() <= values.max() <= 1
            scale = 1.0 if within else float(np.ptp(values))
            if binary is not None:
                exact = np.array([mcnemar(column, binary[:, reference]) for column in binary.T])
                scale = 1.0
            judged = judge_means(values - values[:, [reference]], exchanged, scale, exact)
        else:
            # draws are as far apart as n documents are, an estimate of n - 1
            spread = drawn.std(axis=0) * np.sqrt(n / (n - 1))
            judged = judge_draws(value, spread, exchanged, statistic.differing(reference), n)
        # a column differs from itself by nothing, for certain
        for ends in (judged.low, judged.high, judged.simultaneous_low, judged.simultaneous_high):
            ends[reference] = 0.0
        risk = (self._sign * drawn < -1e-12).mean(axis=0)
        return Difference(**vars(judged), value=value, loss_risk=risk)

    def not_worse(self) -> npt.NDArray[np.bool_]:
        """Tell which columns the best one is not significantly better than, shape (columns,)."""
        same: npt.NDArray[np.bool_] = self.difference(self.best).p_value > 1 - LEVEL
        same[self.best] = True
        return same


def bootstrap(statistic: Statistic, *, higher_is_better: bool = True) -> Bootstrap | None:
    """Draw documents as often as can be afforded.

    Args:
        statistic: The metric.
        higher_is_better: Whether large values are good.

    Returns:
        The draws; None with fewer than two documents, or if even ``LEAST_DRAWS`` draws would take
        longer than ``BUDGET`` seconds, which is logged.
    """
    if statistic.documents < 2:
        return None
    draws = None
    # two steps, so that the time of the day does not show in the numbers
    for draws in (COSTLY_DRAWS, LEAST_DRAWS):
        seconds = statistic.seconds(draws)
        if seconds <= BUDGET:
            break
    else:
        logger.warning(
            "the metric's aggregation function is too slow for statistics: %d draws would take "
            "about %.0f s; intervals and p-values are not available",
            *(draws, seconds),
        )
        return None
    if draws < COSTLY_DRAWS:
        logger.warning("the metric's aggregation function is slow: %d draws only", draws)
    elif seconds > 5:
        logger.info("statistics take about %.0f s", seconds)
    draws = draws if statistic.costly else DRAWS
    return Bootstrap(statistic, higher_is_better=higher_is_better, draws=draws)


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
