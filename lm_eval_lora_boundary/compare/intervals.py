"""The 95 % interval of a value. It depends on nothing but its run."""

from __future__ import annotations

import math

import numpy as np

from ..stats.bootstrap import bootstrap
from .scored import Scored, is_binary, units

WILSON, BOOTSTRAP, STDERR = "Wilson", "bootstrap", "standard error"
_NORMAL = 1.959963984540054  # 97.5 % quantile


def interval(
    scored: Scored | None, value: float, stderr: float | None, direction: bool | None
) -> tuple[float, float, str] | None:
    """Return the ends of the interval and its method; None if there is none.

    Where all documents are right, or all wrong, resampling gives an interval of width 0. So shares
    have Wilson's interval (Agresti & Coull 1998, The American Statistician 52, 119-126). Copies of
    a document tell no more than one of them, so they make the interval wider. Documents that belong
    together are drawn together, and their copies with them.

    Args:
        scored: What the run logged.
        value: The value that lm-eval reported.
        stderr: lm-eval's standard error, used without samples.
        direction: Whether a higher value is better; None if not known.
    """
    found = None if scored is None else _from_samples(scored, direction)
    if found is not None:
        return found
    if stderr is None or not math.isfinite(value):
        return None
    return value - _NORMAL * stderr, value + _NORMAL * stderr, STDERR


def _from_samples(scored: Scored, direction: bool | None) -> tuple[float, float, str] | None:
    if scored.statistic is None or len(scored.places) < 2:
        return None
    # a metric without a direction, such as a ratio, is not a share because it is always 1
    constant = direction is None and len(set(map(repr, scored.items))) == 1
    drawn = units([scored], [sample.document for sample in scored.samples])
    clustered = drawn.of is not None
    if is_binary(scored.items) and not constant and not clustered:
        return *_wilson(scored.reported, scored.effective), WILSON
    resampled = bootstrap(scored.statistic, drawn)
    # a metric that is undefined on some draws has no interval
    if resampled is None or not np.isfinite(resampled.draws).all():
        return None
    if constant:
        return scored.reported, scored.reported, BOOTSTRAP
    wider = 1.0 if clustered else math.sqrt(len(scored.samples) / scored.effective)
    low, high = (float(end[0]) for end in resampled.interval())
    value = scored.reported
    return value - wider * (value - low), value + wider * (high - value), BOOTSTRAP


def _wilson(share: float, documents: float) -> tuple[float, float]:
    """Return Wilson's interval of a share; the number of documents need not be whole."""
    added = _NORMAL**2 / documents
    centre = (share + added / 2) / (1 + added)
    half = math.sqrt(added * share * (1 - share) + added**2 / 4) / (1 + added)
    return max(centre - half, 0.0), min(centre + half, 1.0)
