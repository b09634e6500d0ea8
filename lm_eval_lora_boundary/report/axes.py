"""Curves, bands, marks and labels that several plots share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from . import style
from .data import Row, TaskFound
from .formatting import called, integer, number, short
from .trace_data import Layer

Array = npt.NDArray[np.float64]
DASHES = ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (5, 1.5, 1, 1.5)), (0, (8, 3)), (0, (3, 1)))
_BOUNDARY = "last layer that keeps its LoRA (−1: base)"


def band(
    axes: Axes, xs: Array, low: Array, high: Array, label: str | None, alpha: float = 0.16
) -> None:
    """Fill the area between two curves."""
    axes.fill_between(xs, low, high, color=style.ACCENT, alpha=alpha, linewidth=0, label=label)


def mark(axes: Axes, task: TaskFound) -> None:
    """Mark the best boundary and the smallest one that keeps the gain.

    A best cut that is no boundary has no place on the axis, so it becomes a line at its value.
    """
    best = task.row(task.best)
    marks = []
    if isinstance(task.best, int):
        marks.append((best, style.ACCENT, f"{_best(task)}: {integer(task.best)}"))
    elif best is not None and best.value is not None:
        label = f"best: {short(called(task.best))}, {number(best.value)}"
        draw_level(axes, best.value, label)
    smallest = task.smallest_noninferior
    if isinstance(smallest, int) and smallest != task.best:
        label = f"keeps the gain: {integer(smallest)}"
        marks.append((task.row(smallest), style.PAPER, label))
    for row, fill, label in marks:
        if row is not None and row.boundary is not None and row.value is not None:
            draw_disc(axes, row.boundary, row.value, label, fill=fill)


def draw_disc(
    axes: Axes, x: float, y: float, label: str, *, fill: str, edge: str = style.ACCENT
) -> None:
    """Draw the large disc that marks a point of a curve."""
    axes.plot(
        [x],
        [y],
        marker="o",
        markersize=9,
        color=fill,
        markeredgecolor=edge,
        markeredgewidth=1.6,
        linestyle="none",
        zorder=4,
        label=label,
    )


def draw_level(axes: Axes, value: float, label: str) -> None:
    """Mark a cut that is no boundary, and has no place on the axis, with a line at its value."""
    axes.axhline(value, color=style.ACCENT, linestyle=DASHES[3], linewidth=1, label=label)


def mark_best(axes: Axes, task: TaskFound) -> None:
    """Draw a thin vertical line at the best boundary, if that is the best cut."""
    if not isinstance(task.best, int):
        return
    axes.axvline(
        task.best,
        color=style.MUTED,
        linewidth=1,
        linestyle=DASHES[2],
        zorder=1,
        label=f"{_best(task)}: {integer(task.best)}",
    )


def _best(task: TaskFound) -> str:
    return "best" if task.not_chosen is None else task.best_name


def label_axes(axes: Axes, vertical: str, horizontal: str = _BOUNDARY) -> None:
    """Label both axes, and write numbers with a true minus sign."""
    axes.set_ylabel(vertical)
    axes.set_xlabel(horizontal)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))


def points(rows: Sequence[Row] | Sequence[Layer], name: str) -> tuple[Array, Array]:
    """Return the positions of rows and one of their statistics, NaN where it is missing."""
    xs = [row.boundary if isinstance(row, Row) else row.layer for row in rows]
    return np.array(xs, dtype=float), as_array([getattr(row, name) for row in rows])


def metric_values(task: TaskFound, key: str) -> Array:
    """Return a metric at every boundary, NaN where it is missing."""
    return as_array([row.metrics.get(key) for row in task.rows])


def marker(xs: Array, kind: str = "o") -> str | None:
    """Return a marker if there are few points, else None: many would overlap."""
    return kind if len(xs) <= 48 else None


def as_array(values: Sequence[float | None]) -> Array:
    """Return numbers, NaN where one is missing."""
    return np.array([math.nan if value is None else value for value in values], dtype=float)
