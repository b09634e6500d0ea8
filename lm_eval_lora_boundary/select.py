"""Which boundary: the best, how sure that is, and the smallest that is as good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .statistic import Array, Statistic
from .stats import LEVEL, Bootstrap, Difference, holm

# what a boundary's row says besides its value; None where it is not available
OF_FULL = ("ci_low", "ci_high", "p_value", "p_holm", "simultaneous_low", "simultaneous_high")
STATISTICS = (
    *("delta_full", *OF_FULL, "loss_risk"),
    *("delta_base", "base_ci_low", "base_ci_high", "base_p_value", "win_rate"),
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Scores:
    """A metric of a task at several boundaries, over the same documents.

    Attributes:
        boundaries: The boundaries, ascending.
        values: The metric at each of them; NaN where it could not be computed.
        statistic: The same as something to resample, its columns in the order of the boundaries;
            None if that is not possible.
        higher_is_better: Whether large values are good.
    """

    boundaries: Sequence[int]
    values: Sequence[float]
    statistic: Statistic | None
    higher_is_better: bool


@dataclass(frozen=True)
class Selection:
    """What was found about boundaries.

    Attributes:
        rows: For each boundary, in order, the keys ``STATISTICS``.
        best: The best boundary, the smallest of equals.
        smallest_equivalent: The smallest boundary that the best is not significantly better than
            (at 5 %, one at a time); None where statistics are not available.
        collapse: The highest boundary up to which all, from 0 on, are significantly worse than
            the whole adapter (after Holm); None if there is none.
        optimism: By how much the best looks better than it is, if it is judged on the documents
            that it was chosen on; ``value``, ``corrected`` value of the best, and ``p_value`` of
            its difference to the whole adapter, corrected for the choice.
    """

    rows: list[Row]
    best: int
    smallest_equivalent: int | None
    collapse: int | None
    optimism: dict[str, float | None] | None


def select(scores: Scores, full: int, base: int = -1) -> Selection:
    """Choose a boundary.

    Args:
        scores: The metric at every boundary.
        full: The boundary that keeps the whole adapter.
        base: The boundary that keeps none of it.
    """
    boundaries = list(scores.boundaries)
    sign = 1 if scores.higher_is_better else -1
    # max takes the first of equals: the smaller boundary
    best = max(
        range(len(boundaries)),
        key=lambda i: sign * scores.values[i] if math.isfinite(scores.values[i]) else -math.inf,
    )
    bootstrap = _bootstrap(scores)
    wins = None if bootstrap is None else bootstrap.win_rate()
    columns: list[dict[str, Array | None]] = [
        _to_full(scores, bootstrap, full),
        _to_base(scores, bootstrap, base),
        {"win_rate": wins},
    ]
    rows: list[Row] = [
        {name: _number(values, i) for part in columns for name, values in part.items()}
        for i in range(len(boundaries))
    ]
    if bootstrap is None:
        return Selection(rows, boundaries[best], None, None, None)
    equal = bootstrap.not_worse()
    return Selection(
        rows,
        boundaries[best],
        min(boundary for boundary, same in zip(boundaries, equal, strict=True) if same),
        _collapse(boundaries, rows, sign),
        _optimism(scores, bootstrap, full, best),
    )


def _bootstrap(scores: Scores) -> Bootstrap | None:
    """Return draws of documents, or None where nothing can be drawn."""
    statistic = scores.statistic
    if statistic is None or statistic.documents < 2 or not np.isfinite(scores.values).all():
        return None
    bootstrap = Bootstrap(statistic, higher_is_better=scores.higher_is_better)
    # a metric that some draws of documents leave undefined has no interval
    return bootstrap if np.isfinite(bootstrap.draws).all() else None


def _difference(
    scores: Scores, bootstrap: Bootstrap | None, reference: int
) -> tuple[Array | None, Difference | None]:
    """Return differences to a boundary, and what can be said about them."""
    boundaries = list(scores.boundaries)
    if reference not in boundaries:
        return None, None
    column = boundaries.index(reference)
    values = np.array(scores.values, dtype=np.float64)
    return values - values[column], None if bootstrap is None else bootstrap.difference(column)


def _to_full(scores: Scores, bootstrap: Bootstrap | None, full: int) -> dict[str, Array | None]:
    delta, found = _difference(scores, bootstrap, full)
    row: dict[str, Array | None] = {"delta_full": delta}
    if found is None:
        return row | dict.fromkeys((*OF_FULL, "loss_risk"))
    corrected = np.ones(len(found.value))
    others = np.array([boundary != full for boundary in scores.boundaries])
    corrected[others] = holm(found.p_value[others])
    return row | {
        "ci_low": found.low,
        "ci_high": found.high,
        "p_value": found.p_value,
        "p_holm": corrected,
        "simultaneous_low": found.simultaneous_low,
        "simultaneous_high": found.simultaneous_high,
        "loss_risk": found.loss_risk,
    }


def _to_base(scores: Scores, bootstrap: Bootstrap | None, base: int) -> dict[str, Array | None]:
    delta, found = _difference(scores, bootstrap, base)
    return {
        "delta_base": delta,
        "base_ci_low": None if found is None else found.low,
        "base_ci_high": None if found is None else found.high,
        "base_p_value": None if found is None else found.p_value,
    }


def _collapse(boundaries: Sequence[int], rows: Sequence[Row], sign: int) -> int | None:
    """Return the highest boundary up to which all are significantly worse than the full adapter."""
    highest = None
    for boundary, row in zip(boundaries, rows, strict=True):
        if boundary < 0:
            continue
        if row["p_holm"] is None or row["p_holm"] > 1 - LEVEL or sign * row["delta_full"] >= 0:
            break
        highest = boundary
    return highest


def _optimism(
    scores: Scores, bootstrap: Bootstrap, full: int, best: int
) -> dict[str, float | None]:
    sign = 1 if scores.higher_is_better else -1
    value = bootstrap.optimism()
    _, found = _difference(scores, bootstrap, full)
    return {
        "value": value,
        "corrected": scores.values[best] - sign * value,
        "p_value": None if found is None else float(found.p_simultaneous[best]),
    }


def _number(values: Array | None, column: int) -> float | None:
    """Return a column's number, None where it is not available."""
    if values is None or not math.isfinite(values[column]):
        return None
    return float(values[column])
