"""The best boundary, how sure that is, and the smallest that is not significantly worse.

In all functions, ``full`` is the boundary that keeps the whole adapter, and ``base`` the one that
keeps none of it.
"""

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

# the statistics of a row, by the attribute of `Difference` that holds each
_TO_FULL = {
    "ci_low": "low",
    "ci_high": "high",
    "p_value": "p_value",
    "simultaneous_low": "simultaneous_low",
    "simultaneous_high": "simultaneous_high",
    "loss_risk": "loss_risk",
}
_TO_BASE = {"base_ci_low": "low", "base_ci_high": "high", "base_p_value": "p_value"}
# what a boundary's row says besides its value; None where it is not available
STATISTICS = (
    *("delta_full", "ci_low", "ci_high", "p_value", "p_holm"),
    *("simultaneous_low", "simultaneous_high", "loss_risk"),
    *("delta_base", "base_ci_low", "base_ci_high", "base_p_value", "win_rate"),
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Scores:
    """A metric of a task at several boundaries, over the same documents.

    Attributes:
        boundaries: The boundaries, ascending.
        values: The metric at each of them; NaN or infinite where it could not be computed.
        statistic: The same in a form that can be resampled, with columns in the order of the
            boundaries; None if that is not possible.
        higher_is_better: Whether large values are good.
        metric: What to call it.
    """

    boundaries: Sequence[int]
    values: Sequence[float]
    statistic: Statistic | None
    higher_is_better: bool
    metric: str = "the metric"

    @property
    def sign(self) -> int:
        """1 if large values are good, -1 if small ones are."""
        return 1 if self.higher_is_better else -1


@dataclass(frozen=True)
class Selection:
    """The best boundary, and how sure that is.

    Attributes:
        rows: For each boundary, in order, the keys ``STATISTICS``.
        best: The best boundary, the smallest in a tie.
        smallest_equivalent: The smallest boundary that the best is not significantly better than
            (at 5 %, one at a time); None where statistics are not available.
        collapse: The highest boundary up to which all scored boundaries, from 0 on, are
            significantly worse than the whole adapter (after Holm); None if there is none.
        optimism: How much better the best looks than it is, because it was chosen and judged on
            the same documents: ``value``, never negative; the ``corrected`` value of the best; and
            the ``p_value`` of its difference to the whole adapter, corrected for the choice.
    """

    rows: list[Row]
    best: int
    smallest_equivalent: int | None
    collapse: int | None
    optimism: dict[str, float | None] | None


@dataclass(frozen=True)
class _Resampled:
    """Resampled documents at the boundaries with a finite value.

    Attributes:
        bootstrap: The draws; a column for each of these boundaries.
        places: The place of each column's boundary among all.
    """

    bootstrap: Bootstrap
    places: npt.NDArray[np.int64]

    def column(self, place: int) -> int | None:
        """Return the column of a boundary; None if it has none."""
        return next((i for i, each in enumerate(self.places) if each == place), None)


def select(scores: Scores, full: int, base: int = -1) -> Selection:
    """Find the best boundary.

    Raises:
        TaskError: No boundary has a finite value.
    """
    boundaries, values = scores.boundaries, scores.values
    finite = [i for i, value in enumerate(values) if math.isfinite(value)]
    if not finite:
        raise TaskError(
            f"{scores.metric} is {', '.join(dict.fromkeys(map(str, values)))} at every boundary, "
            "so none can be chosen; expected numbers: choose by another metric (--metric), or look "
            "at the answers"
        )
    # max takes the first of equals: the smallest boundary
    best = max(finite, key=lambda i: scores.sign * values[i])
    resampled = _resample(scores)
    rows = _rows(scores, resampled, full, base)
    collapse = _collapse(scores, rows)
    column = None if resampled is None else resampled.column(best)
    if resampled is None or column is None:
        return Selection(rows, boundaries[best], None, collapse, None)
    smallest = min(resampled.places[resampled.bootstrap.not_worse()])
    optimism = _optimism(scores, resampled, full, column)
    return Selection(rows, boundaries[best], boundaries[smallest], collapse, optimism)


def describe(scores: Scores, full: int, base: int = -1) -> list[Row]:
    """Return the statistics of each boundary, in order, without choosing one."""
    return _rows(scores, _resample(scores), full, base)


def _resample(scores: Scores) -> _Resampled | None:
    """Resample the documents; return None where that is not possible."""
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
    # a metric that is undefined in some draws has no interval
    defined = np.flatnonzero(np.isfinite(drawn.draws).all(axis=0))
    if not len(defined):
        return None
    if len(defined) < len(finite):
        drawn = drawn.take(defined.tolist())
    return _Resampled(drawn, finite[defined])


def _rows(scores: Scores, resampled: _Resampled | None, full: int, base: int) -> list[Row]:
    columns = {name: np.full(len(scores.boundaries), np.nan) for name in STATISTICS}
    columns["delta_full"] = _delta(scores, full)
    columns["delta_base"] = _delta(scores, base)
    if resampled is not None:
        places = resampled.places
        columns["win_rate"][places] = resampled.bootstrap.win_rate()
        for reference, names in ((full, _TO_FULL), (base, _TO_BASE)):
            difference = _difference(scores, resampled, reference)
            if difference is not None:
                for name, attribute in names.items():
                    columns[name][places] = getattr(difference, attribute)
        columns["p_holm"] = _corrected(scores, columns["p_value"], full)
    return [
        {
            name: float(column[i]) if math.isfinite(column[i]) else None
            for name, column in columns.items()
        }
        for i in range(len(scores.boundaries))
    ]


def _delta(scores: Scores, reference: int) -> Array:
    """Return differences to a boundary; NaN where one is not available."""
    values = np.where(np.isfinite(scores.values), scores.values, np.nan)
    at = [i for i, boundary in enumerate(scores.boundaries) if boundary == reference]
    return values - (values[at[0]] if at else np.nan)


def _corrected(scores: Scores, p_values: Array, full: int) -> Array:
    """Return p-values corrected for their number; the whole adapter's own is 1."""
    corrected = np.where(np.isfinite(p_values), 1.0, np.nan)
    others = np.isfinite(p_values) & (np.array(scores.boundaries) != full)
    corrected[others] = holm(p_values[others])
    return corrected


def _difference(scores: Scores, resampled: _Resampled, reference: int) -> Difference | None:
    """Return the differences to a boundary; None if it was not resampled."""
    if reference not in scores.boundaries:
        return None
    column = resampled.column(list(scores.boundaries).index(reference))
    return None if column is None else resampled.bootstrap.difference(column)


def _collapse(scores: Scores, rows: Sequence[Row]) -> int | None:
    """Return the highest boundary up to which all scored ones are significantly worse."""
    highest = None
    for boundary, row in zip(scores.boundaries, rows, strict=True):
        if boundary < 0:
            continue
        p_value = row["p_holm"]
        if p_value is None or p_value > 1 - LEVEL or scores.sign * row["delta_full"] >= 0:
            break
        highest = boundary
    return highest


def _optimism(
    scores: Scores, resampled: _Resampled, full: int, best: int
) -> dict[str, float | None]:
    value = resampled.bootstrap.optimism()
    difference = _difference(scores, resampled, full)
    return {
        "value": value,
        "corrected": scores.values[resampled.places[best]] - scores.sign * value,
        "p_value": None if difference is None else float(difference.p_simultaneous[best]),
    }
