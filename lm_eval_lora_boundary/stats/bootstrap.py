"""Paired statistics over documents: every column (cut, model) answered the same ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import scipy.stats

from .aggregates import Array
from .permutation import (
    LEVEL,
    PermutationTest,
    approximate_randomisation,
    binary_exponent,
    sign_flip_test,
)
from .statistic import Statistic, scale
from .units import Units

logger = logging.getLogger("lm_eval.lora_boundary")

DRAWS = 10_000
COSTLY_DRAWS = 2_000
# with fewer draws, no corrected p-value of 30 boundaries can be significant
MIN_DRAWS = 1_000
TIME_BUDGET = 60.0  # seconds for the statistics of one metric


@dataclass(frozen=True)
class Difference(PermutationTest):
    """Differences of all columns from a reference column; every array has shape (columns,).

    ``p_value`` is that of McNemar's mid-p test if documents are right or wrong and stand alone, of
    a sign-flip test for other means, and of approximate randomisation for all other metrics, raised
    where the interval is more careful than the test. An interval excludes zero exactly where the
    corresponding test, single or simultaneous, rejects at 5 %; it may end at zero.

    Attributes:
        value: The difference.
        differing: Share of documents on which the column differs from the reference.
        spread: Standard deviation of the difference on a document, as it was observed: its
            standard error is this over the square root of the number of documents.
    """

    value: Array
    differing: Array
    spread: Array


class Bootstrap:
    """Bootstrap over documents, or clusters of documents, with the same draws for all columns.

    Attributes:
        statistic: The metric.
        units: What is drawn.
        observed: The metric on all documents, shape (columns,).
        draws: The metric on each bootstrap sample, shape (draws, columns).
    """

    def __init__(
        self, statistic: Statistic, *, units: Units | None = None, draws: int | None = None
    ) -> None:
        """Draw, by default 10,000 times, or 2,000 times if the metric is costly.

        Raises:
            ValueError: There are fewer than two documents, or two clusters.
        """
        self.units = units or Units(statistic.documents)
        if self.units.count < 2:
            raise ValueError(f"expected at least 2 documents, got {self.units.count}")
        self.statistic = statistic
        self._differences: dict[int, Difference] = {}
        self.observed = statistic.observed
        count = draws or (COSTLY_DRAWS if statistic.costly else DRAWS)
        self.draws: Array = np.concatenate(
            [statistic.resample(counts) for counts in self.units.draws(count)]
        )

    def take(self, columns: Sequence[int]) -> Bootstrap:
        """Return the same draws for some of the columns."""
        taken = copy(self)
        taken.statistic = self.statistic.take(columns)
        taken._differences = {}
        taken.observed = self.observed[columns]
        taken.draws = self.draws[:, columns]
        return taken

    def interval(self) -> tuple[Array, Array]:
        """Return the ends of the 95 % intervals of the metric, shape (columns,) each.

        If documents are right or wrong and stand alone, these are Wilson's (Agresti & Coull 1998,
        The American Statistician 52, 119-126): where all are wrong, resampling gives an interval of
        width 0. So they are if all documents of all clusters are, each of which counts as one
        document. Others are expanded percentile intervals (Hesterberg 2015, "What Teachers Should
        Know About the Bootstrap", section 5.2): plain ones are too narrow by a factor of
        sqrt((n - 1) / n), and by using a normal quantile instead of Student's t.
        """
        n = self.units.count
        binary = self.statistic.binary
        if binary is not None and self.units.of is None:
            ends = np.array([_wilson(number, n) for number in binary.sum(axis=0).astype(int)])
            return ends[:, 0], ends[:, 1]
        quantile = float(scipy.stats.t.ppf((1 + LEVEL) / 2, n - 1)) * np.sqrt(n / (n - 1))
        tail = 100 * float(scipy.stats.norm.sf(quantile))
        low, high = np.percentile(self.draws, [tail, 100 - tail], axis=0)
        if binary is not None:
            for column in np.flatnonzero(binary.all(axis=0) | ~binary.any(axis=0)):
                low[column], high[column] = _wilson(n * int(binary[0, column]), n)
        return low, high

    def difference(self, reference: int) -> Difference:
        """Compare all columns with a reference column."""
        if reference not in self._differences:
            self._differences[reference] = self._difference(reference)
        return self._differences[reference]

    def _difference(self, reference: int) -> Difference:
        statistic, units = self.statistic, self.units
        permuted = np.concatenate(
            [
                statistic.permuted_differences(units.spread(signs), reference)
                for signs in units.sign_flips(len(self.draws))
            ]
        )
        value = self.observed - self.observed[reference]
        if statistic.values is not None:
            values, binary = statistic.values, statistic.binary if units.of is None else None
            # assume that values within [0, 1] could have been anywhere in it
            exact = None
            if binary is not None:
                exact = np.array([mcnemar(column, binary[:, reference]) for column in binary.T])
            differences = units.means(values - values[:, [reference]])
            test = sign_flip_test(differences, permuted, scale(values), exact)
            spread = differences.std(axis=0) * np.sqrt(units.documents / units.count)
        else:
            drawn = self.draws - self.draws[:, [reference]]
            # the bootstrap's standard deviation divides by n, not by n - 1
            exponent = binary_exponent(drawn)  # perplexities can be too large to square
            deviation = np.ldexp(np.ldexp(drawn, -exponent).std(axis=0), exponent)
            stderr = deviation * np.sqrt(units.count / (units.count - 1))
            number = (units.means(statistic.differing(reference).astype(float)) > 0).sum(axis=0)
            test = approximate_randomisation(value, stderr, permuted, number, units.count)
            spread = stderr * np.sqrt(units.documents)
        # the reference certainly does not differ from itself
        for ends in (test.low, test.high, test.simultaneous_low, test.simultaneous_high):
            ends[reference] = 0.0
        differing = statistic.differing(reference).mean(axis=0)
        return Difference(**vars(test), value=value, differing=differing, spread=spread)


def bootstrap(statistic: Statistic, units: Units | None = None) -> Bootstrap | None:
    """Draw as many bootstrap samples as time allows.

    Return None if there are fewer than two documents or clusters, or if even ``MIN_DRAWS`` draws
    would take longer than ``TIME_BUDGET`` seconds; the latter is logged.
    """
    units = units or Units(statistic.documents)
    if units.count < 2:
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
    return Bootstrap(statistic, units=units, draws=draws if statistic.costly else DRAWS)


def _wilson(right: int, documents: int) -> tuple[float, float]:
    """Return the ends of the interval of a share."""
    found = scipy.stats.binomtest(right, documents).proportion_ci(LEVEL, method="wilson")
    return found.low, found.high


def mcnemar(a: Array, b: Array) -> float:
    """Return the two-sided mid-p value of McNemar's test on 0/1 values, shape (documents,).

    The exact test rejects far less often than its level says. The mid-p version, which counts only
    half of the probability of what was observed, keeps the level in practice (Fagerland, Lydersen &
    Laake 2013, BMC Medical Research Methodology 13, 91).
    """
    gained, lost = int((a > b).sum()), int((a < b).sum())
    smaller, both = min(gained, lost), gained + lost
    coin = scipy.stats.binom(both, 0.5)
    return min(1.0, 2 * float(coin.cdf(smaller)) - float(coin.pmf(smaller)))


def holm(p_values: Array) -> Array:
    """Return p-values corrected by Holm's method (1979, Scand. J. Statist. 6, 65-70).

    statsmodels' function collects all garbage of the process in every call, a third of a second.
    """
    order = np.argsort(p_values)
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(steps, 1.0)
    return corrected
