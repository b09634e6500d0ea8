"""The difference of a mean over tasks, where documents are swapped and drawn within each task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

from ..stats.statistic import Statistic
from ..stats.units import Units

Array = npt.NDArray[np.float64]
Signs = npt.NDArray[np.int8]

PERMUTATIONS = 10_000
_COSTLY_PERMUTATIONS = 2_000
# the fewest differing documents with which the test can reject: 2 / 2^6 < 5 %
_MIN_DIFFERING = 6
_LEVEL = 0.95
_ROUNDING = 1e-9
_SEED = 1234
_CHUNK = 250  # permutations in memory at a time


@dataclass(frozen=True)
class Stratum:
    """A task of a group.

    Attributes:
        statistic: The metric of the two runs, columns 0 and 1.
        units: What is drawn: the documents, or clusters of them.
        weight: The task's share in the mean.
        differing: Number of units on which the runs differ.
    """

    statistic: Statistic
    units: Units
    weight: float
    differing: int


@dataclass(frozen=True)
class Difference:
    """The difference of column 0 from column 1.

    The ends are NaN if there is no interval; all is NaN if the metric is undefined after a
    permutation.
    """

    value: float
    low: float
    high: float
    p_value: float


def seconds(strata: Sequence[Stratum]) -> float:
    """Estimate how long :func:`stratified_difference` takes."""
    return sum(each.statistic.estimate_seconds(_count(strata)) for each in strata)


def stratified_difference(strata: Sequence[Stratum]) -> Difference:
    """Test the weighted mean over tasks of the difference between two runs.

    If the runs are equally good, it does not matter which of them gave which answer to a document.
    So answers are swapped at random, in each task for itself. The statistic is the difference
    divided by its standard error, which keeps its level also where the tasks differ in spread
    (Chung & Romano 2013, Annals of Statistics 41, 484-507). The 95 % interval extends by a critical
    value of the test, in standard errors, to either side; so it leaves out 0 exactly where the test
    rejects at 5 %.

    A spread that is seen in few documents says little. For means, standard errors therefore count
    two more documents, one gained and one lost; with many, the test makes up for them. Other
    metrics have no interval if fewer than 6 documents differ. Clusters of documents count as
    documents do.

    Args:
        strata: The tasks; each has at least two documents, or clusters.
    """
    sizes = [each.units.count for each in strata]
    weights = np.array([each.weight for each in strata])
    # shape (tasks, permutations); no answer is swapped in the first column
    permuted = np.concatenate(
        [
            [
                each.statistic.permuted_differences(each.units.spread(part), 1)[:, 0]
                for each, part in zip(strata, signs, strict=True)
            ]
            for signs in _sign_flips(sizes, _count(strata))
        ],
        axis=1,
    )
    if not np.isfinite(permuted).all():
        return Difference(*[math.nan] * 4)
    variances = np.array(
        [_variances(each, row) for each, row in zip(strata, permuted, strict=True)]
    )
    stderr = np.sqrt(weights**2 @ variances + _imaginary_documents(strata))
    difference = weights @ permuted
    t = _divide(np.abs(difference), stderr)
    p_value = float((t >= t[0] * (1 - _ROUNDING) - 1e-12).mean())
    critical = _critical_value(t, sum(sizes) - len(sizes))
    if not _are_means(strata) and sum(each.differing for each in strata) < _MIN_DIFFERING:
        critical = math.nan
    value, half = float(difference[0]), critical * float(stderr[0])
    low, high = value - half, value + half
    if p_value > 1 - _LEVEL:  # rounding must not exclude 0
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(value, low, high, p_value)


def _critical_value(t: Array, freedom: int) -> float:
    """Return what lies between the statistics that are significant and those that are not.

    Where few values are possible, there is a wide gap between them; of what lies in it, Student's
    quantile is closest to the truth.
    """
    beyond = int((1 - _LEVEL) * len(t) + _ROUNDING)
    lowest = float(-np.partition(-t, beyond)[beyond])  # the largest that is not significant
    significant = t[t > lowest * (1 + _ROUNDING) + 1e-12]
    highest = float(significant.min()) * (1 - _ROUNDING) if len(significant) else math.inf
    student = float(scipy.stats.t.ppf((1 + _LEVEL) / 2, freedom))
    return max(lowest, min(student, highest))


def _are_means(strata: Sequence[Stratum]) -> bool:
    return all(each.statistic.values is not None for each in strata)


def _imaginary_documents(strata: Sequence[Stratum]) -> float:
    """Return what two more documents add to the squared standard error; 0 if not a mean.

    They differ by the range of the values, in the task where a document counts most.
    """
    values = [each.statistic.values for each in strata]
    known = [column for column in values if column is not None]
    if len(known) < len(values):
        return 0.0
    low, high = min(map(np.min, known)), max(map(np.max, known))
    # assume that values within [0, 1] could have been anywhere in it
    scale = 1.0 if 0 <= low <= high <= 1 else float(high - low)
    heaviest = max(each.weight / each.units.count for each in strata)
    return 2 * (scale * heaviest) ** 2


def _count(strata: Sequence[Stratum]) -> int:
    """Return the number of permutations to draw."""
    costly = any(each.statistic.costly for each in strata)
    return _COSTLY_PERMUTATIONS if costly else PERMUTATIONS


def _sign_flips(sizes: Sequence[int], count: int) -> Iterator[list[Signs]]:
    """Yield permutations in chunks, as one array per task; the first one swaps nothing.

    All ways to swap are listed if there are at most ``count``. The very first document is never
    swapped then, since swapping the complement only changes the sign of the difference.
    """
    total = sum(sizes)
    ends = np.cumsum(sizes)[:-1]
    if total <= 30 and 2 ** (total - 1) <= count:
        swapped = np.arange(2 ** (total - 1))[:, None] >> np.arange(total - 1) & 1
        every = np.hstack([np.ones((len(swapped), 1)), 1 - 2 * swapped]).astype(np.int8)
        yield np.split(every, ends, axis=1)
        return
    yield np.split(np.ones((1, total), dtype=np.int8), ends, axis=1)
    generator = np.random.default_rng([_SEED, total])
    for start in range(0, count, _CHUNK):
        shape = (min(_CHUNK, count - start), total)
        yield np.split(1 - 2 * generator.integers(0, 2, shape, dtype=np.int8), ends, axis=1)


def _variances(stratum: Stratum, permuted: Array) -> Array:
    """Return the squared standard error of a task's difference in every permutation.

    Swapping changes the sign of a document's difference and not its square, so the sum of squares
    is the same in all permutations. A metric that is not a mean is treated as the mean that varies
    as much when answers are swapped.
    """
    n, values = stratum.units.count, stratum.statistic.values
    if values is None:
        second_moment = float((permuted**2).mean())
    else:
        differences = stratum.units.means(values[:, [0]] - values[:, [1]])
        second_moment = float((differences**2).sum()) / n**2
    variances: Array = np.maximum(n * second_moment - permuted**2, 0) / (n - 1)
    return variances


def _divide(numerator: Array, denominator: Array) -> Array:
    """Return quotients: 0 for 0 / 0, infinity for other numerators over 0."""
    quotients = np.where(numerator > 1e-12, np.inf, 0.0)
    nonzero = denominator > 1e-7 * np.maximum(numerator, 1e-300)
    return np.divide(numerator, denominator, out=quotients, where=nonzero)
