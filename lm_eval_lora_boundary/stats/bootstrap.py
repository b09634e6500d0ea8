"""Paired statistics over documents: every column (boundary, model) answered the same ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

from .aggregates import Array
from .permutation import (
    LEVEL,
    PermutationTest,
    approximate_randomisation,
    sign_flip_test,
    sign_flips,
)
from .statistic import Statistic

logger = logging.getLogger("lm_eval.lora_boundary")

DRAWS = 10_000
COSTLY_DRAWS = 2_000
# with fewer draws, no p-value of 30 boundaries can be significant after Holm's correction
MIN_DRAWS = 1_000
TIME_BUDGET = 60.0  # seconds for the statistics of one metric
SEED = 1234
_CHUNK = 250  # draws in memory at a time


@dataclass(frozen=True)
class Difference(PermutationTest):
    """Differences of all columns from a reference column; every array has shape (columns,).

    ``p_value`` is that of the exact McNemar test if documents are right or wrong, of a sign-flip
    test for other means, and of approximate randomisation for all other metrics. An interval
    excludes zero only where the corresponding test, single or simultaneous, rejects at 5 %.

    Attributes:
        value: The difference.
        loss_risk: Share of bootstrap draws in which the column is worse than the reference.
    """

    value: Array
    loss_risk: Array


class Bootstrap:
    """Bootstrap over documents, with the same draws for all columns.

    Attributes:
        observed: The metric on all documents, shape (columns,).
        draws: The metric on each bootstrap sample, shape (draws, columns).
    """

    def __init__(
        self, statistic: Statistic, *, higher_is_better: bool = True, draws: int | None = None
    ) -> None:
        """Draw documents, by default 10,000 times, or 2,000 times if the metric is costly.

        Raises:
            ValueError: There are fewer than two documents.
        """
        documents = statistic.documents
        if documents < 2:
            raise ValueError(f"expected at least 2 documents, got {documents}")
        self._documents = documents
        self._statistic = statistic
        self._sign = 1.0 if higher_is_better else -1.0
        self._differences: dict[int, Difference] = {}
        self.observed = statistic.observed
        count = draws or (COSTLY_DRAWS if statistic.costly else DRAWS)
        generator = np.random.default_rng(SEED)
        equal = np.full(documents, 1 / documents)
        self.draws: Array = np.concatenate(
            [
                statistic.resample(
                    generator.multinomial(documents, equal, size=min(_CHUNK, count - start))
                )
                for start in range(0, count, _CHUNK)
            ]
        )

    def take(self, columns: Sequence[int]) -> Bootstrap:
        """Return the same draws for some of the columns."""
        taken = copy(self)
        taken._statistic = self._statistic.take(columns)
        taken._differences = {}
        taken.observed = self.observed[columns]
        taken.draws = self.draws[:, columns]
        return taken

    def interval(self) -> tuple[Array, Array]:
        """Return the ends of the 95 % intervals of the metric, shape (columns,) each.

        These are expanded percentile intervals (Hesterberg 2015, "What Teachers Should Know About
        the Bootstrap", section 5.2): plain ones are too narrow by a factor of sqrt((n - 1) / n),
        and by using a normal quantile instead of Student's t.
        """
        n = self._documents
        quantile = float(scipy.stats.t.ppf((1 + LEVEL) / 2, n - 1)) * np.sqrt(n / (n - 1))
        tail = 100 * float(scipy.stats.norm.sf(quantile))
        low, high = np.percentile(self.draws, [tail, 100 - tail], axis=0)
        return low, high

    @property
    def best(self) -> int:
        """The best column, the first in a tie."""
        return int(self._best(self.observed))

    def win_rate(self) -> Array:
        """Return the share of draws in which each column is the best, shape (columns,)."""
        wins = np.bincount(self._best(self.draws), minlength=len(self.observed))
        return wins / len(self.draws)

    def _best(self, values: Array) -> npt.NDArray[np.int64]:
        """Return the best columns of values of shape (..., columns), the first in a tie."""
        # rounded, so that floating-point error does not break ties
        best: npt.NDArray[np.int64] = np.round(self._sign * values, 12).argmax(axis=-1)
        return best

    def optimism(self) -> float:
        """Estimate how much better the best column looks than it is because it was chosen.

        Suppose that all columns that the best is not significantly better than are equally good.
        Then each draw is won by the luckiest of them, the one farthest above its own mean over
        draws. The optimism is the mean luck of the best column in the draws that it wins this way
        (or comes closest to winning: at least 1 % of them). The usual estimate, the chosen column's
        value in a draw minus its value on all documents, finds only two thirds of this if columns
        are equally good, because the draws inherit the luck of the documents.

        Returns:
            At least 0, in units of the metric; subtract it if higher is better, else add it.
            Exactly 0 if no choice was made among different columns.
        """
        equivalent = np.flatnonzero(self.not_worse())
        luck = self._sign * (self.draws - self.draws.mean(axis=0))
        own = luck[:, self.best]
        behind = luck[:, equivalent].max(axis=1) - own
        near = behind <= max(1e-12, float(np.quantile(behind, 0.01)))
        optimism = float(own[near].mean())
        return optimism if optimism > 1e-12 else 0.0

    def difference(self, reference: int) -> Difference:
        """Compare all columns with a reference column."""
        if reference not in self._differences:
            self._differences[reference] = self._difference(reference)
        return self._differences[reference]

    def _difference(self, reference: int) -> Difference:
        statistic, n = self._statistic, self._documents
        permuted = np.concatenate(
            [
                statistic.permuted_differences(signs, reference)
                for signs in sign_flips(n, len(self.draws), SEED)
            ]
        )
        drawn = self.draws - self.draws[:, [reference]]
        value = self.observed - self.observed[reference]
        if statistic.values is not None:
            binary, values = statistic.binary, statistic.values
            exact = None
            # assume that values within [0, 1] could have been anywhere in it
            within_unit = 0 <= values.min() <= values.max() <= 1
            scale = 1.0 if within_unit else float(np.ptp(values))
            if binary is not None:
                exact = np.array([mcnemar(column, binary[:, reference]) for column in binary.T])
            test = sign_flip_test(values - values[:, [reference]], permuted, scale, exact)
        else:
            # the bootstrap's standard deviation divides by n, not by n - 1
            stderr = drawn.std(axis=0) * np.sqrt(n / (n - 1))
            differing = statistic.count_differing(reference)
            test = approximate_randomisation(value, stderr, permuted, differing, n)
        # the reference certainly does not differ from itself
        for ends in (test.low, test.high, test.simultaneous_low, test.simultaneous_high):
            ends[reference] = 0.0
        loss_risk = (self._sign * drawn < -1e-12).mean(axis=0)
        return Difference(**vars(test), value=value, loss_risk=loss_risk)

    def not_worse(self) -> npt.NDArray[np.bool_]:
        """Return which columns the best one is not significantly better than, shape (columns,)."""
        not_worse: npt.NDArray[np.bool_] = self.difference(self.best).p_value > 1 - LEVEL
        not_worse[self.best] = True
        return not_worse


def bootstrap(statistic: Statistic, *, higher_is_better: bool = True) -> Bootstrap | None:
    """Draw as many bootstrap samples as time allows.

    Return None if there are fewer than two documents, or if even ``MIN_DRAWS`` draws would take
    longer than ``TIME_BUDGET`` seconds; the latter is logged.
    """
    if statistic.documents < 2:
        return None
    # two fixed sizes, so that results do not depend on small differences in speed
    for draws in (COSTLY_DRAWS, MIN_DRAWS):
        seconds = statistic.estimate_seconds(draws)
        if seconds <= TIME_BUDGET:
            break
    else:
        logger.warning(
            "the metric's aggregation function is too slow for statistics: %d draws would take "
            "about %.0f s; intervals and p-values are not available",
            draws,
            seconds,
        )
        return None
    if draws < COSTLY_DRAWS:
        logger.warning("the metric's aggregation function is slow: using only %d draws", draws)
    elif seconds > 5:
        logger.info("the statistics take about %.0f s", seconds)
    draws = draws if statistic.costly else DRAWS
    return Bootstrap(statistic, higher_is_better=higher_is_better, draws=draws)


def mcnemar(a: Array, b: Array) -> float:
    """Return the exact two-sided p-value of McNemar's test on 0/1 values, shape (documents,)."""
    gained, lost = int((a > b).sum()), int((a < b).sum())
    if gained + lost == 0:
        return 1.0
    return float(scipy.stats.binomtest(gained, gained + lost).pvalue)


def holm(p_values: Array) -> Array:
    """Return p-values corrected by Holm's method (1979, Scand. J. Statist. 6, 65-70)."""
    order = np.argsort(p_values, kind="stable")
    steps = (len(p_values) - np.arange(len(p_values))) * np.asarray(p_values)[order]
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
