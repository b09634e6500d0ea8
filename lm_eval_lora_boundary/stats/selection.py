"""Which boundary: the best, how sure that is, and the smallest that is as good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import TaskError
from .aggregates import Array
from .bootstrap import Bootstrap, Difference, bootstrap, holm
from .permutation import LEVEL
from .statistic import Statistic

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
        values: The metric at each of them; NaN or infinite where it could not be computed.
        statistic: The same as something to resample, its columns in the order of the boundaries;
            None if that is not possible.
        higher_is_better: Whether large values are good.
        metric: What to call it.
    """

    boundaries: Sequence[int]
    values: Sequence[float]
    statistic: Statistic | None
    higher_is_better: bool
    metric: str = "the metric"


@dataclass(frozen=True)
class Selection:
    """What was found about boundaries.

    Attributes:
        rows: For each boundary, in order, the keys ``STATISTICS``.
        best: The best boundary, the smallest of equals.
        smallest_equivalent: The smallest boundary that the best is not significantly better than
            (at 5 %, one at a time); None where statistics are not available.
        collapse: The highest boundary up to which all that were scored, from 0 on, are
            significantly worse than the whole adapter (after Holm); None if there is none.
        optimism: By how much the best looks better than it is, if it is judged on the documents
            that it was chosen on: ``value``, never negative; ``corrected`` value of the best; and
            ``p_value`` of its difference to the whole adapter, corrected for the choice.
    """

    rows: list[Row]
    best: int
    smallest_equivalent: int | None
    collapse: int | None
    optimism: dict[str, float | None] | None


@dataclass(frozen=True)
class _Drawn:
    """Draws of documents, and of which boundaries: those whose values are finite."""

    bootstrap: Bootstrap
    columns: npt.NDArray[np.int64]

    def number(self, boundary: int) -> int | None:
        """Return which of the drawn columns is that of a boundary, by its place among all."""
        return next((i for i, column in enumerate(self.columns) if column == boundary), None)


def select(scores: Scores, full: int, base: int = -1) -> Selection:
    """Choose a boundary.

    Args:
        scores: The metric at every boundary.
        full: The boundary that keeps the whole adapter.
        base: The boundary that keeps none of it.

    Raises:
        TaskError: No boundary has a finite value.
    """
    boundaries = list(scores.boundaries)
    sign = 1 if scores.higher_is_better else -1
    finite = [i for i in range(len(boundaries)) if math.isfinite(scores.values[i])]
    if not finite:
        values = ", ".join(dict.fromkeys(map(str, scores.values)))
        raise TaskError(
            f"{scores.metric} is {values} at every boundary, so that none can be chosen; expected "
            "numbers: choose by another metric (--metric), or look at the answers"
        )
    # max takes the first of equals: the smaller boundary
    best = max(finite, key=lambda i: sign * scores.values[i])
    drawn = _draw(scores)
    rows = _rows(scores, drawn, full, base)
    place = None if drawn is None else drawn.number(best)
    if drawn is None or place is None:
        return Selection(rows, boundaries[best], None, _collapse(boundaries, rows, sign), None)
    equal = drawn.columns[drawn.bootstrap.not_worse()]
    return Selection(
        rows,
        boundaries[best],
        min(boundaries[i] for i in equal),
        _collapse(boundaries, rows, sign),
        _optimism(scores, drawn, full, place),
    )


def describe(scores: Scores, full: int, base: int = -1) -> list[Row]:
    """Return what can be said about each boundary, in order, without choosing one.

    Args:
        scores: The metric at every boundary.
        full: The boundary that keeps the whole adapter.
        base: The boundary that keeps none of it.
    """
    return _rows(scores, _draw(scores), full, base)


def _draw(scores: Scores) -> _Drawn | None:
    """Return draws of documents, or None where nothing can be drawn."""
    finite = np.flatnonzero(np.isfinite(scores.values))
    if scores.statistic is None or not len(finite):
        return None
    some = len(finite) < len(scores.values)
    drawn = bootstrap(
        scores.statistic.take(finite.tolist()) if some else scores.statistic,
        higher_is_better=scores.higher_is_better,
    )
    if drawn is None:
        return None
    # a metric that some draws of documents leave undefined has no interval
    defined = np.flatnonzero(np.isfinite(drawn.draws).all(axis=0))
    if not len(defined):
        return None
    if len(defined) < len(finite):
        drawn = drawn.take(defined.tolist())
    return _Drawn(drawn, finite[defined])


def _rows(scores: Scores, drawn: _Drawn | None, full: int, base: int) -> list[Row]:
    columns: list[dict[str, Array | None]] = [
        _to_full(scores, drawn, full),
        _to_base(scores, drawn, base),
        {"win_rate": None if drawn is None else drawn.bootstrap.win_rate()},
    ]
    rows: list[Row] = []
    for i in range(len(scores.boundaries)):
        # differences are there for all boundaries, the rest for those that were drawn
        place = None if drawn is None else drawn.number(i)
        rows.append(
            {
                name: _number(values, i if name.startswith("delta") else place)
                for part in columns
                for name, values in part.items()
            }
        )
    return rows


def _difference(
    scores: Scores, drawn: _Drawn | None, reference: int
) -> tuple[Array | None, Difference | None]:
    """Return differences to a boundary, and what can be said about those that were drawn."""
    boundaries = list(scores.boundaries)
    if reference not in boundaries:
        return None, None
    column = boundaries.index(reference)
    values = np.array(scores.values, dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    place = None if drawn is None else drawn.number(column)
    found = None if drawn is None or place is None else drawn.bootstrap.difference(place)
    return values - values[column], found


def _to_full(scores: Scores, drawn: _Drawn | None, full: int) -> dict[str, Array | None]:
    delta, found = _difference(scores, drawn, full)
    row: dict[str, Array | None] = {"delta_full": delta}
    if drawn is None or found is None:
        return row | dict.fromkeys((*OF_FULL, "loss_risk"))
    corrected = np.ones(len(found.value))
    others = np.array([scores.boundaries[i] != full for i in drawn.columns])
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


def _to_base(scores: Scores, drawn: _Drawn | None, base: int) -> dict[str, Array | None]:
    delta, found = _difference(scores, drawn, base)
    return {
        "delta_base": delta,
        "base_ci_low": None if found is None else found.low,
        "base_ci_high": None if found is None else found.high,
        "base_p_value": None if found is None else found.p_value,
    }


def _collapse(boundaries: Sequence[int], rows: Sequence[Row], sign: int) -> int | None:
    """Return the highest boundary up to which all scored ones are significantly worse."""
    highest = None
    for boundary, row in zip(boundaries, rows, strict=True):
        if boundary < 0:
            continue
        if row["p_holm"] is None or row["p_holm"] > 1 - LEVEL or sign * row["delta_full"] >= 0:
            break
        highest = boundary
    return highest


def _optimism(scores: Scores, drawn: _Drawn, full: int, best: int) -> dict[str, float | None]:
    sign = 1 if scores.higher_is_better else -1
    value = drawn.bootstrap.optimism()
    _, found = _difference(scores, drawn, full)
    return {
        "value": value,
        "corrected": scores.values[drawn.columns[best]] - sign * value,
        "p_value": None if found is None else float(found.p_simultaneous[best]),
    }


def _number(values: Array | None, column: int | None) -> float | None:
    """Return a column's number, None where it is not available."""
    if values is None or column is None or not math.isfinite(values[column]):
        return None
    return float(values[column])
