"""Does a cut keep what the adapter gained? Tests of non-inferiority with a margin.

A margin that is a share of the gain, such as 10 %, needs no estimate of the gain. A cut keeps at
least 90 % of it if ``cut - 0.9 * whole - 0.1 * base`` is above 0. This is a mean over documents
like any other, so that one test of it answers the question (fraction-retention tests of
non-inferiority trials; Rothmann et al. 2003, Statistics in Medicine 22, 239-264). A margin in the
unit of the metric asks the same of ``cut - whole + margin``.

The test must hold where it matters most: a cut that gives the same answers as the whole adapter on
all documents at hand. No spread is seen there, and yet other documents may differ. So one imaginary
document is added, on which the cut loses all that can be lost. The documents, and this one, get
random weights that are uniform on the simplex, and the p-value is the probability that the weighted
mean is not above 0. Where answers are right or wrong and only lost, never gained, this is the exact
test of Clopper and Pearson. For any other bounded metric it is Gaffke's (2005, "Three test
statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable", Math.
Methods Stat. 14, 451-467), whose level no known case exceeds (Learned-Miller & Thomas 2019, arXiv
1905.06208).

BLEU and other metrics that are no means over documents are resampled with one document more: the
one on which the whole adapter would lose most by giving the answer of another column, with that
answer. There, and for metrics without known bounds, whose range is taken from the values seen, the
level holds only if the documents show how much can be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .aggregates import Array, Counts
from .bootstrap import Bootstrap
from .margin import Margin
from .statistic import scale

ALPHA = 0.05  # one-sided
_SECONDS = 20.0  # to look for the worst document among the answers of all cuts


@dataclass(frozen=True)
class Kept:
    """How much of the whole adapter's gain each cut keeps; every array has shape (cuts,).

    Attributes:
        share: Share of the gain; NaN if whole adapter and base model score the same.
        low: Lower end of its 90 % interval, which is the one-sided bound at 95 %; minus infinity
            where the gain could be none.
        high: Upper end.
        difference_low: Lower end of the 90 % interval of the difference from the whole adapter, in
            the unit of the metric.
        difference_high: Upper end.
        p_value: One-sided, of the hypothesis that the cut loses the margin or more.
    """

    share: Array
    low: Array
    high: Array
    difference_low: Array
    difference_high: Array
    p_value: Array


@dataclass(frozen=True)
class _Drawn:
    """The metric on random weights of the documents and an imaginary one.

    Attributes:
        cuts: Shape (draws, cuts).
        whole: Shape (draws, 1).
        base: Shape (draws, 1).
        loss: How much less the imaginary document makes of a cut on which it loses most, shape
            (draws, cuts) or (draws, 1).
    """

    cuts: Array
    whole: Array
    base: Array
    loss: Array


def kept(
    bootstrap: Bootstrap,
    whole: int,
    base: int | None,
    cuts: Sequence[int],
    margin: Margin,
    *,
    higher_is_better: bool,
) -> Kept:
    """Test how much of the gain each cut keeps.

    Args:
        bootstrap: The metric of all columns; defined on all draws.
        whole: The column of the whole adapter.
        base: The column of the base model; None if there is none, so that only a margin in the
            unit of the metric can be tested.
        cuts: The columns to test.
        margin: How much may be lost.
        higher_is_better: Whether large values are good.
    """
    sign = 1.0 if higher_is_better else -1.0
    base = whole if base is None else base  # no gain
    observed = sign * bootstrap.observed
    gain = observed[whole] - observed[base]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(gain != 0, (observed[list(cuts)] - observed[base]) / gain, np.nan)
    means = bootstrap.statistic.values is not None
    drawn = (_weighted if means else _resampled)(bootstrap, whole, base, cuts, sign)
    lowest = drawn.cuts - drawn.loss
    if margin.is_share:
        contrast = lowest - (1 - margin.value) * drawn.whole - margin.value * drawn.base
    else:
        contrast = lowest - drawn.whole + margin.value
    draws = len(contrast)
    # one more, so that no p-value is 0
    p_value = ((~(contrast > 0)).sum(axis=0) + 1) / (draws + 1)
    gains = drawn.whole - drawn.base
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(gains > 0, (lowest - drawn.base) / gains, -np.inf)
        high = np.where(gains > 0, (drawn.cuts + drawn.loss - drawn.base) / gains, np.inf)
    below, above = lowest - drawn.whole, drawn.cuts + drawn.loss - drawn.whole
    ends = np.sort(sign * np.stack([_low(below), _high(above)]), axis=0)
    return Kept(share, _low(low), _high(high), ends[0], ends[1], p_value)


def _low(draws: Array) -> Array:
    low: Array = np.quantile(draws, ALPHA, axis=0, method="lower")
    return low


def _high(draws: Array) -> Array:
    high: Array = np.quantile(draws, 1 - ALPHA, axis=0, method="higher")
    return high


def _weighted(
    bootstrap: Bootstrap, whole: int, base: int, cuts: Sequence[int], sign: float
) -> _Drawn:
    """Weight the documents of a mean."""
    values = bootstrap.statistic.values
    assert values is not None
    units = bootstrap.units
    per_unit = sign * units.means(values)
    # the largest cluster may lose all
    worst = scale(values) * float(units.sizes.max()) * units.count / units.documents
    means, extra = [], []
    for weights in units.weights(len(bootstrap.draws)):
        means.append(weights[:, 1:] @ per_unit)
        extra.append(weights[:, :1] * worst)
    drawn = np.concatenate(means)
    return _Drawn(drawn[:, list(cuts)], drawn[:, [whole]], drawn[:, [base]], np.concatenate(extra))


def _resampled(
    bootstrap: Bootstrap, whole: int, base: int, cuts: Sequence[int], sign: float
) -> _Drawn:
    """Resample the documents of a metric that is no mean, and one of them once more."""
    statistic, units = bootstrap.statistic, bootstrap.units
    extra, other = _worst_answer(bootstrap, whole, [base, *cuts], sign)
    drawn: list[Array] = []
    for counts, number in units.draws_with_one_more(len(bootstrap.draws)):
        more = number[:, None] * extra
        nothing = np.zeros_like(more)
        as_is = [
            statistic.pooled(counts + more, column, nothing, column)
            for column in (whole, base, *cuts)
        ]
        losing = [statistic.pooled(counts, cut, more, other) for cut in cuts]
        drawn.append(np.stack([*as_is, *losing], axis=1))
    both = sign * np.concatenate(drawn)
    plain, lowest = np.split(both[:, 2:], 2, axis=1)
    return _Drawn(plain, both[:, :1], both[:, 1:2], plain - lowest)


def _worst_answer(
    bootstrap: Bootstrap, whole: int, others: Sequence[int], sign: float
) -> tuple[Counts, int]:
    """Return the unit and the column whose answer to it would cost the whole adapter most.

    The unit has the shape (documents,). If the metric is slow, only the first of the other columns
    is looked at.
    """
    statistic, units = bootstrap.statistic, bootstrap.units
    few = statistic.estimate_seconds(units.count) > _SECONDS
    found: list[tuple[float, int, int]] = []
    for unit in range(units.count):
        one = units.one(unit)
        for other in others[:1] if few else others:
            losing = float(sign * statistic.pooled(1 - one, whole, one, other)[0])
            if np.isfinite(losing):
                found.append((losing, unit, other))
    _, unit, other = min(found, default=(0.0, 0, others[0]))
    worst: Counts = units.one(unit)[0]
    return worst, other
