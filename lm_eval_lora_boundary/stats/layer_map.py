"""The layer map: how much the LoRA of each single layer improves a metric."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .bootstrap import bootstrap
from .statistic import Statistic
from .units import Units

Effect = dict[str, float | None]


def layer_effects(
    statistic: Statistic | None,
    values: Sequence[float],
    reference: int,
    columns: Sequence[int],
    *,
    dropped: bool,
    higher_is_better: bool,
    units: Units | None = None,
) -> list[Effect]:
    """Return how much each layer improves the metric; positive if the layer helps.

    The intervals and p-values hold for all layers at once (max-T): with 95 % confidence, every
    interval holds the effect of its layer. They therefore depend on which layers are asked about.

    Args:
        statistic: The metric as a function of documents, with columns as in ``values``; None if it
            cannot be resampled.
        values: The metric of every column; NaN or infinite where it cannot be compared with the
            reference.
        reference: The column to compare with: the whole adapter if ``dropped``, else the base.
        columns: For each layer, the column of its cut.
        dropped: Whether a column drops its layer from the whole adapter (the effect is reference
            minus column), or keeps its layer alone (column minus reference).
        higher_is_better: Whether large values are good.
        units: What is exchanged; by default, documents.

    Returns:
        For each layer ``effect``, ``ci_low``, ``ci_high`` and ``p_value``, each None where it is
        not available.
    """
    sign = (-1 if dropped else 1) * (1 if higher_is_better else -1)
    effects = [_effect(sign * (values[column] - values[reference])) for column in columns]
    # each column once: layers may share a cut
    comparable = sorted({column for column in columns if math.isfinite(values[column])})
    if statistic is None or not comparable or not math.isfinite(values[reference]):
        return effects
    taken = [reference, *(column for column in comparable if column != reference)]
    resampled = bootstrap(statistic.take(taken), units)
    if resampled is None:
        return effects
    # a metric that is undefined in some draws has no interval
    defined = np.flatnonzero(np.isfinite(resampled.draws).all(axis=0)).tolist()
    if 0 not in defined:
        return effects
    if len(defined) < len(taken):
        resampled = resampled.take(defined)
    difference = resampled.difference(0)
    place = {taken[old]: new for new, old in enumerate(defined)}
    for effect, column in zip(effects, columns, strict=True):
        if column in place:
            i = place[column]
            ends = sorted(
                sign * end
                for end in (difference.simultaneous_low[i], difference.simultaneous_high[i])
            )
            effect["ci_low"], effect["ci_high"] = map(_finite, ends)
            effect["p_value"] = _finite(difference.p_simultaneous[i])
    return effects


def _effect(value: float) -> Effect:
    return {"effect": _finite(value), "ci_low": None, "ci_high": None, "p_value": None}


def _finite(value: float) -> float | None:
    """Return a finite number, without the sign of zero; None for everything else."""
    return float(value) + 0.0 if math.isfinite(value) else None
