"""How small a difference documents can show, and how many a margin needs.

All differences are paired, and their spread is the standard deviation of the difference on a
document. For answers that are right or wrong, it follows from the disagreement: the share of
documents that change from right to wrong or back.
"""

from __future__ import annotations

import math

import scipy.stats
from scipy.optimize import brentq

from .permutation import LEVEL

POWER = 0.8
_TWO_SIDED = (1 - LEVEL) / 2
_MOST = 10**9  # documents


def spread(disagreement: float) -> float:
    """Return the spread of differences if answers are right or wrong and none is better."""
    return math.sqrt(disagreement)


def detectable(documents: int, spread: float, scale: float = 1.0) -> float:
    """Return the difference that a two-sided test at 5 % finds 4 times in 5.

    Args:
        documents: Number of documents.
        spread: The spread of the differences.
        scale: How much one document can differ. However seldom documents differ, a test needs a few
            that do, so that there is a smallest difference: that of which the spread is due to the
            difference alone.
    """
    quantiles = float(scipy.stats.norm.isf(_TWO_SIDED) + scipy.stats.norm.ppf(POWER))
    return max(quantiles * spread / math.sqrt(documents), quantiles**2 * scale / documents)


def ends_of_detectable(
    documents: int, spread: float, differing: float, scale: float = 1.0
) -> tuple[float, float]:
    """Return how far a detectable difference may be off, because the disagreement may be.

    Args:
        documents: Number of documents.
        spread: The spread that was observed.
        differing: The share of documents on which there was a difference.
        scale: As in :func:`detectable`.
    """
    counted = scipy.stats.binomtest(round(differing * documents), documents)
    ends = counted.proportion_ci(LEVEL, method="wilson")
    per_share = spread / math.sqrt(differing) if differing else scale
    low, high = (
        detectable(documents, per_share * math.sqrt(max(end, 0)), scale)
        for end in (ends.low, ends.high)
    )
    return low, high


def documents_to_keep(
    margin: float, spread: float, scale: float = 1.0, alpha: float = 1 - LEVEL
) -> int:
    """Return how many documents it takes to show, 4 times in 5, that an equal cut loses less.

    This approximates :func:`.kept`, whose imaginary document weighs about as much as one of the
    others. So even if all answers are the same, no fewer than about three over the margin will do
    (the "rule of three").

    Args:
        margin: The largest loss that is allowed, in the unit of the metric.
        spread: Spread of the tested contrast.
        scale: How much one document can lose.
        alpha: The level of the test, one-sided.
    """
    margin, spread = margin / scale, spread / scale
    power = float(scipy.stats.norm.ppf(POWER))

    def missing(documents: float) -> float:
        # Gamma with the mean and the variance of the loss that the bound allows for: exponential
        # if only the imaginary document counts, normal if the spread counts
        mean, variance = 1 / documents, spread**2 / documents + 1 / documents**2
        bound = (
            mean + _gamma_quantile(variance, documents, 1 - alpha) + power * spread / documents**0.5
        )
        return float(bound - margin)

    if missing(_MOST) > 0:
        return _MOST
    smallest = 1.0 if margin >= 1 else math.log(alpha) / math.log(1 - margin)
    found = 1.0 if missing(1.0) <= 0 else float(brentq(missing, 1.0, _MOST, xtol=0.5))
    return math.ceil(max(found, smallest))


def _gamma_quantile(variance: float, documents: float, level: float) -> float:
    """Return how far the bound lies from its mean."""
    # third moment of the imaginary document's weight alone: 2 / n^3
    skewness = 2 / documents**3 / variance**1.5
    if skewness < 1e-4:
        return float(scipy.stats.norm.ppf(level)) * math.sqrt(variance)
    return float(scipy.stats.pearson3.ppf(level, skewness)) * math.sqrt(variance)
