"""Paired permutation tests, and intervals that agree with them, also for few documents.

If two columns are equally good, it does not matter which of them gave which of the two answers to
a document. Swapping the answers at random, document by document, therefore shows how far apart two
columns get by chance. For means this is Fisher's sign-flip test of the paired differences. For
BLEU and other corpus metrics it is approximate randomisation (Riezler & Maxwell 2005, "On Some
Pitfalls in Automatic Evaluation and Significance Testing for MT"). The same documents are swapped
for all columns, so that the largest statistic among them tests all columns at once (max-T: Westfall
& Young 1993, Resampling-Based Multiple Testing, section 2.6).

An interval extends by the test's critical value, in standard errors, to either side, and so it
excludes zero exactly where the test rejects. In two cases it is wider:

- Columns that agree on most documents. A spread estimated from a few documents says little about
  others, and no difference at all does not prove equality. For 0/1 metrics the interval is Bonett
  and Price's (2012, "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions
  Based on Paired Data", J. Educ. Behav. Stat. 37, 479-488): it adds two imaginary documents, one
  gained and one lost. Other means add the same two, as large as the range of the values, if fewer
  than ``MIN_DIFFERING`` documents differ. Other metrics have no interval then.
- Fewer than ``FEW_DOCUMENTS`` documents. Except for 0/1 metrics, the critical value is then at
  least that of Student's t.

Where the two would contradict each other, the more careful one decides: the p-value is then that of
the interval. Only for 0/1 metrics, whose test is exact for any number of documents, does the test
decide, and the interval ends at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

from .aggregates import Array

LEVEL = 0.95
# coverage even of very skewed differences: at least 90 % with 10 documents, 89 % with 6
FEW_DOCUMENTS = 10
# the fewest differing documents with which the test can reject: 2 / 2^6 < 5 %
MIN_DIFFERING = 6
_NORMAL = float(scipy.stats.norm.ppf((1 + LEVEL) / 2))
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PermutationTest:
    """Tests of columns against a reference column; every array has shape (columns,).

    Attributes:
        low: Lower end of the 95 % interval of the difference, NaN where there is none.
        high: Upper end of it.
        p_value: Two-sided, for one column at a time.
        simultaneous_low: Lower end of the 95 % interval that holds for all columns at once.
        simultaneous_high: Upper end of it.
        p_simultaneous: Two-sided, corrected for all columns (max-T).
        stderr: The standard error that the intervals use, NaN where there is none.
    """

    low: Array
    high: Array
    p_value: Array
    simultaneous_low: Array
    simultaneous_high: Array
    p_simultaneous: Array
    stderr: Array


def sign_flip_test(
    differences: Array, permuted: Array, scale: float, exact: Array | None
) -> PermutationTest:
    """Test means over documents, or over clusters of them.

    Args:
        differences: Difference from the reference on every document, or cluster, shape
            (documents, columns).
        permuted: Their means after sign flips, shape (permutations, columns); the first row is
            the observed one.
        scale: Range of the metric.
        exact: Exact p-values to use instead if documents are right or wrong, shape (columns,).
    """
    documents = len(differences)
    differing = (np.abs(differences) > 1e-12).sum(axis=0)
    added = np.full(len(differing), exact is not None) | (differing < MIN_DIFFERING)
    number = np.where(added, documents + 2, documents)
    squares = (differences**2).sum(axis=0) + np.where(added, 2 * scale**2, 0)
    means = permuted * documents / number
    # flipping a sign does not change a square: the standard error of each permuted mean
    stderr = np.sqrt(
        np.maximum(squares / number - means**2, 0) / np.where(added, number, documents - 1)
    )
    t = _divide(np.abs(means), stderr)
    p_value = _p_values(np.abs(permuted)) if exact is None else exact
    critical = np.where(added, _NORMAL, _critical_value(t))
    if exact is None:
        critical = np.maximum(critical, _min_critical_value(documents))
        p_added = np.where(added, 2 * scipy.stats.norm.sf(t[0]), 0.0)
        p_value = np.maximum(p_value, np.maximum(p_added, _p_of_few(t[0], documents)))
    has_interval = (scale > 0) | (differing > 0)
    return _result(means[0], stderr[0], t, critical, p_value, has_interval)


def approximate_randomisation(
    value: Array, stderr: Array, permuted: Array, differing: npt.NDArray[np.int64], documents: int
) -> PermutationTest:
    """Test a metric that is not a mean over documents.

    Args:
        value: Differences from the reference, shape (columns,).
        stderr: Their bootstrap standard errors, shape (columns,).
        permuted: The differences after swapping answers, shape (permutations, columns); the first
            row is the observed one.
        differing: Number of documents, or clusters, that differ from the reference, shape
            (columns,).
        documents: Number of documents, or clusters.
    """
    size = np.abs(np.nan_to_num(permuted, nan=np.inf))  # undefined counts as extreme
    finite = np.where(np.isfinite(size), size, 0)
    finite = np.ldexp(finite, -binary_exponent(finite))  # perplexities can be too large to square
    # Student's t of each permuted difference as if the metric were a mean, whose sum of squares
    # the permutations leave unchanged
    share = _divide(finite**2, (finite**2).sum(axis=0) * documents / len(size))
    share = np.clip(np.where(np.isfinite(size), share, 1), 0, 1 - 1e-12)
    t = np.sqrt((documents - 1) * share / (1 - share))
    critical = np.maximum(_critical_value(t), _min_critical_value(documents))
    has_interval = differing >= min(documents, MIN_DIFFERING)
    # the bootstrap's standard error can be much larger than that of the permutations
    own = np.where(has_interval, _divide(np.abs(value), stderr), np.inf)
    t[0] = np.minimum(t[0], own)
    p_value = np.maximum(_p_values(size), np.maximum(_p_values(t), _p_of_few(t[0], documents)))
    return _result(value, stderr, t, critical, p_value, has_interval)


def binary_exponent(values: Array) -> npt.NDArray[np.int32]:
    """Return the exponents of two that scale the largest finite value of each column below 1.

    Scaling by a power of two rounds nothing.
    """
    size = np.abs(np.where(np.isfinite(values), values, 0)).max(axis=0)
    exponents: npt.NDArray[np.int32] = np.frexp(size)[1]
    return exponents


def _result(
    centre: Array,
    stderr: Array,
    t: Array,
    critical: Array,
    p_value: Array,
    has_interval: npt.NDArray[np.bool_],
) -> PermutationTest:
    """Add the simultaneous test on ``t``, and intervals that agree with both tests."""
    max_t = t.max(axis=1, keepdims=True)
    p_simultaneous = np.maximum((max_t >= _threshold(t[0])).mean(axis=0), p_value)
    max_critical = np.maximum(_critical_value(max_t)[0], critical)
    return PermutationTest(
        *_interval(centre, np.where(has_interval, critical, np.nan), stderr, p_value),
        p_value,
        *_interval(centre, np.where(has_interval, max_critical, np.nan), stderr, p_simultaneous),
        p_simultaneous,
        np.where(has_interval, stderr, np.nan),
    )


def _interval(centre: Array, critical: Array, stderr: Array, p_value: Array) -> tuple[Array, Array]:
    """Return the ends of intervals, which reach zero, or end there, as the test says."""
    half = np.where((stderr == 0) & ~np.isnan(critical), 0, critical * stderr)
    low, high = centre - half, centre + half
    kept = p_value > 1 - LEVEL
    low = np.where(kept, np.minimum(low, 0), np.where(centre > 0, np.maximum(low, 0), low))
    high = np.where(kept, np.maximum(high, 0), np.where(centre < 0, np.minimum(high, 0), high))
    return low, high


def _min_critical_value(documents: int) -> float:
    if documents >= FEW_DOCUMENTS:
        return 0.0
    return float(scipy.stats.t.ppf((1 + LEVEL) / 2, documents - 1))


def _p_of_few(t: Array, documents: int) -> Array:
    """Return the p-values of Student's t if there are few documents, else zeros."""
    if documents >= FEW_DOCUMENTS:
        return np.zeros_like(t)
    p_values: Array = 2 * scipy.stats.t.sf(t, documents - 1)
    return p_values


def _p_values(size: Array) -> Array:
    """Return the shares of rows at least as extreme as the first one, which is included."""
    p_values: Array = (size >= _threshold(size[0])).mean(axis=0)
    return p_values


def _threshold(observed: Array) -> Array:
    """Return the smallest value that counts as at least as large, allowing for rounding error."""
    return observed * (1 - _ROUNDING) - 1e-12


def _critical_value(t: Array) -> Array:
    """Return the largest statistics that are not significant, shape (columns,)."""
    beyond = int((1 - LEVEL) * len(t) + _ROUNDING)
    critical: Array = -np.partition(-t, beyond, axis=0)[beyond]
    return critical


def _divide(numerator: Array, denominator: Array) -> Array:
    """Return quotients: 0 for 0 / 0, infinity for other numerators over 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    quotients = np.where(numerator > 1e-12, np.inf, 0.0)
    nonzero = denominator > 1e-12 * np.maximum(numerator, 1e-300)
    return np.divide(numerator, denominator, out=quotients, where=nonzero)
