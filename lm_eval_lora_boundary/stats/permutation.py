"""Paired tests and intervals that hold with few documents: answers exchanged between two columns.

If two columns are equally good, it does not matter which of them gave which of the two answers to
a document. Exchanging them at random, document by document, thus shows how far columns are apart
by chance alone: for means that is Fisher's sign-flip test of the paired differences, for BLEU and
other metrics of a whole corpus approximate randomisation (Riezler & Maxwell 2005, "On Some
Pitfalls in Automatic Evaluation and Significance Testing for MT"). The same documents are
exchanged for all columns, so that the largest deviation among them is a test of all at once (max-T:
Westfall & Young 1993, Resampling-Based Multiple Testing, section 2.6).

An interval reaches as many standard errors to either side as chance reaches in the test, and
therefore leaves out zero where the test rejects. Two exceptions err on the side of caution:

- Columns that agree on most documents. Their spread is that of a few documents and says little
  about what others would do; with no difference at all it is zero, which proves nothing. For 0/1
  metrics the interval is Bonett and Price's (2012, "Adjusted Wald Confidence Interval for a
  Difference of Binomial Proportions Based on Paired Data", J. Educ. Behav. Stat. 37, 479-488): two
  imaginary documents, one gained and one lost, are added. Means of other values take the same two,
  as large as the range of the values, as long as fewer documents differ than a test could reject
  with (``REJECTING``); other metrics have no interval then.
- Fewer than ``FEW`` documents: intervals of anything but 0/1 metrics reach at least as far as
  Student's t says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

from .aggregates import Array

LEVEL = 0.95
# with 10 documents intervals cover 90 % or more even of very skewed differences, with 6 89 %
FEW = 10
# all of so many have to differ in the same direction before the test can reject: 2 / 2^6 < 5 %
REJECTING = 6
_NORMAL = float(scipy.stats.norm.ppf((1 + LEVEL) / 2))
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Judged:
    """What exchanging answers says about columns; every array has shape (columns,).

    Attributes:
        low: Lower end of the 95 % interval of the difference, NaN where there is none.
        high: Upper end.
        p_value: Two-sided, for one column at a time.
        simultaneous_low: Lower end of the interval that holds for all columns at once.
        simultaneous_high: Upper end.
        p_simultaneous: Two-sided, corrected in the same way.
    """

    low: Array
    high: Array
    p_value: Array
    simultaneous_low: Array
    simultaneous_high: Array
    p_simultaneous: Array


def exchanges(documents: int, draws: int, seed: int) -> Iterator[npt.NDArray[np.int8]]:
    """Yield which documents to exchange: all ways if they are no more than the draws, else some.

    Args:
        documents: How many there are.
        draws: How many ways to draw.
        seed: Of the draws.

    Yields:
        1 for a document that stays and -1 for one that is exchanged, shape (some, documents); the
        very first row exchanges none. Exchanging all others instead gives the opposite
        difference, so that the first document may as well stay when all ways are listed.
    """
    if documents <= 30 and 2 ** (documents - 1) <= draws:
        ways = np.arange(2 ** (documents - 1))[:, None] >> np.arange(documents - 1) & 1
        yield np.hstack([np.ones((len(ways), 1)), 1 - 2 * ways]).astype(np.int8)
        return
    yield np.ones((1, documents), dtype=np.int8)
    generator = np.random.default_rng([seed, documents])
    for start in range(0, draws, 250):
        size = (min(250, draws - start), documents)
        yield 1 - 2 * generator.integers(0, 2, size, dtype=np.int8)


def judge_means(differences: Array, exchanged: Array, scale: float, exact: Array | None) -> Judged:
    """Judge means of documents.

    Args:
        differences: Of every document, to the reference, shape (documents, columns).
        exchanged: Their means with exchanged answers, shape (ways, columns); the first row with
            none exchanged.
        scale: Range of the metric: 1 if documents are right or wrong.
        exact: Exact p-values of the columns if documents are right or wrong, shape (columns,).
    """
    documents = len(differences)
    differing = (np.abs(differences) > 1e-12).sum(axis=0)
    added = np.full(len(differing), exact is not None) | (differing < REJECTING)
    number = np.where(added, documents + 2, documents)
    squares = (differences**2).sum(axis=0) + np.where(added, 2 * scale**2, 0)
    centres = exchanged * documents / number
    # exchanging changes no square: the spread that goes with each centre
    spread = np.sqrt(
        np.maximum(squares / number - centres**2, 0) / np.where(added, number, documents - 1)
    )
    far = _ratio(np.abs(centres), spread)
    p_value = _shares(np.abs(exchanged)) if exact is None else exact
    reach = np.where(added, _NORMAL, _reach(far))
    if exact is None:
        reach = np.maximum(reach, _student(documents))
    there = (scale > 0) | (differing > 0)
    return _judged(centres[0], spread[0], far, reach, p_value, there)


def judge_draws(
    value: Array, spread: Array, exchanged: Array, differing: npt.NDArray[np.int64], n: int
) -> Judged:
    """Judge a metric that is no mean.

    Args:
        value: The differences, shape (columns,).
        spread: Their standard errors, from drawing documents anew, shape (columns,).
        exchanged: The differences with exchanged answers, shape (ways, columns); the first row
            with none exchanged.
        differing: How many documents differ, shape (columns,).
        n: Number of documents.
    """
    apart = np.abs(np.nan_to_num(exchanged, nan=np.inf))  # what cannot be computed counts as far
    finite = np.where(np.isfinite(apart), apart, 0)
    # as if the metric were a mean: Student's t of a draw, given that exchanging changes no square
    share = _ratio(finite**2, (finite**2).sum(axis=0) * n / len(apart))
    share = np.clip(np.where(np.isfinite(apart), share, 1), 0, 1 - 1e-12)
    far = np.sqrt((n - 1) * share / (1 - share))
    reach = np.maximum(_reach(far), _student(n))
    return _judged(value, spread, far, reach, _shares(apart), differing >= min(n, REJECTING))


def _judged(
    centre: Array,
    spread: Array,
    far: Array,
    reach: Array,
    p_value: Array,
    there: npt.NDArray[np.bool_],
) -> Judged:
    """Return intervals that agree with the tests.

    Args:
        centre: Middles of the intervals, shape (columns,).
        spread: Standard errors, shape (columns,).
        far: Distances from zero in standard errors, shape (ways, columns).
        reach: Standard errors to either side, shape (columns,).
        p_value: One column at a time, shape (columns,).
        there: Which columns have an interval, shape (columns,).
    """
    largest = far.max(axis=1, keepdims=True)
    # the same draws for all: as many as have a largest distance beyond the column's own
    p_simultaneous = (largest >= far[0] * (1 - _ROUNDING) - 1e-12).mean(axis=0)
    widest = np.maximum(_reach(largest)[0], reach)
    return Judged(
        *_interval(centre, np.where(there, reach, np.nan), spread, p_value),
        p_value,
        *_interval(centre, np.where(there, widest, np.nan), spread, p_simultaneous),
        p_simultaneous,
    )


def _interval(centre: Array, reach: Array, spread: Array, p_value: Array) -> tuple[Array, Array]:
    """Return ends; what the test does not reject, zero, is not left out."""
    width = np.where((spread == 0) & ~np.isnan(reach), 0, reach * spread)
    low, high = centre - width, centre + width
    kept = p_value > 1 - LEVEL
    return np.where(kept, np.minimum(low, 0), low), np.where(kept, np.maximum(high, 0), high)


def _student(documents: int) -> float:
    """Return how many standard errors an interval reaches at least, 0 with enough documents."""
    if documents >= FEW:
        return 0.0
    return float(scipy.stats.t.ppf((1 + LEVEL) / 2, documents - 1))


def _shares(far: Array) -> Array:
    """Return p-values: how many ways lead as far as none exchanged, this way included."""
    shares: Array = (far >= far[0] * (1 - _ROUNDING) - 1e-12).mean(axis=0)
    return shares


def _reach(far: Array) -> Array:
    """Return the farthest distances that are not significant, shape (columns,)."""
    beyond = int((1 - LEVEL) * len(far) + _ROUNDING)
    found: Array = -np.partition(-far, beyond, axis=0)[beyond]
    return found


def _ratio(top: Array, bottom: Array) -> Array:
    """Return quotients: 0 of nothing, infinite where only the divisor is 0."""
    top, bottom = np.broadcast_arrays(top, bottom)
    whole = np.where(top > 1e-12, np.inf, 0.0)
    return np.divide(top, bottom, out=whole, where=bottom > 1e-12 * np.maximum(top, 1e-300))
