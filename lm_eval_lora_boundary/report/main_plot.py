"""The plot that matters first: the metric by boundary, for a wide page and for a phone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes

from . import style
from .axes import DASHES, band, draw_disc, draw_level, marker, points
from .data import BASE, Row, TaskFound
from .formatting import called, clipped, integer, metric_name, named, number, runs, short
from .style import Plot
from .verdicts import WORSE, verdicts

_WIDE, _HIGH = 7.4, 3.5  # of the wide plot, in inches
_NARROW_HIGH = 3.4
_LINE = 0.075  # height of a line of text, as a share of the axes
_STEPS = (1, 2, 5, 10, 20, 50, 100)
_MOST_TICKS = 7


def draw_main(task: TaskFound, full: int | None, *, wide: bool) -> Plot:
    """Plot the metric with its band, both ends as lines, and the recommended cut."""
    size = (_WIDE, _HIGH) if wide else (style.WIDTH, _NARROW_HIGH)
    figure, (axes,) = style.new_figure(height=size[1], width=size[0])
    _draw_worse(axes, task)
    _draw_values(axes, task)
    _draw_test(axes, task)
    _draw_ends(axes, task, full, wide=wide)
    _mark(axes, task, full)
    name = metric_name(task.metric)
    axes.set_title(name, loc="left", fontsize=9, color=style.MUTED, pad=6)
    axes.set_xlabel("last layer that keeps its LoRA")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    _set_ticks(axes, [row.boundary for row in task.rows if row.boundary is not None])
    style.legend(figure, axes, columns=4)
    return Plot(
        "metric" if wide else "metric_narrow",
        f"{name} by the last layer that keeps its LoRA",
        _alt(task, full, name),
        figure,
    )


def _draw_worse(axes: Axes, task: TaskFound) -> None:
    """Shade the boundaries that are significantly worse."""
    for i, (first, last) in enumerate(_neighbours(task)):
        axes.axvspan(
            first - 0.5,
            last + 0.5,
            color=style.WASH,
            zorder=0,
            linewidth=0,
            label="_" * bool(i) + "significantly worse",  # "_": not in the legend again
        )


def _neighbours(task: TaskFound) -> list[tuple[int, int]]:
    """Return the first and the last of each run of scored boundaries that are worse."""
    scored = [row.boundary for row in task.rows if row.boundary is not None]
    worse = {*task.collapsed}
    if verdicts(task, task.rows, None).get(BASE) == WORSE:
        worse.add(BASE)
    places = [i for i, boundary in enumerate(scored) if boundary in worse]
    return [(scored[first], scored[last]) for first, last in runs(places)]


def _draw_values(axes: Axes, task: TaskFound) -> None:
    xs, ys = points(task.rows, "value")
    low, high = ends_of_values(task, task.rows)
    if np.isfinite(low).any():
        band(axes, xs, low, high, "95 % interval")
    axes.plot(xs, ys, color=style.ACCENT, marker=marker(xs))


def ends_of_values(task: TaskFound, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the intervals of values, within what the metric can be."""
    ends = [clipped(row.value_low, row.value_high, task.limits) for row in rows]
    pairs = np.array(ends, dtype=float).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _draw_test(axes: Axes, task: TaskFound) -> None:
    """Draw what was scored on the test split, a little to the right of the curve."""
    if task.test is None:
        return
    rows = [row for row in task.test.rows if row.boundary is not None]
    places, values = points(rows, "value")
    reach = np.abs(np.array(ends_of_values(task, rows)) - values)
    aside = 0.008 * (np.ptp([row.boundary or 0 for row in task.rows]) or 1)
    axes.errorbar(
        places + aside,
        values,
        yerr=np.nan_to_num(reach),
        color=style.INK,
        marker="D",
        markersize=3.6,
        linestyle="none",
        elinewidth=0.9,
        zorder=5,
        label=f"{task.test.split} split",
    )


def _draw_ends(axes: Axes, task: TaskFound, full: int | None, *, wide: bool) -> None:
    """Draw whole adapter and base model as lines, with their names at the right edge."""
    names = ("whole adapter", "base model") if wide else ("whole", "base")
    labels = []
    for boundary, dashes, name in ((full, DASHES[0], names[0]), (BASE, DASHES[1], names[1])):
        row = task.row(boundary)
        if row is not None and row.value is not None:
            axes.axhline(row.value, color=style.MUTED, linestyle=dashes, linewidth=1, zorder=1)
            labels.append((row.value, f"{name} {number(row.value)}"))
    axes.margins(y=0.08)
    low, high = axes.get_ylim()
    for place, (_, text) in zip(
        _apart([(value - low) / (high - low) for value, _ in labels]), labels, strict=True
    ):
        axes.annotate(
            text,
            (1.015, place),
            xycoords="axes fraction",
            va="center",
            color=style.MUTED,
            annotation_clip=False,
        )
    axes.set_ylim(low, high)


def _apart(places: list[float]) -> list[float]:
    """Move labels apart that would overlap."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda i: (places[i], -i))
    for below, above in pairwise(order):
        missing = _LINE - (moved[above] - moved[below])
        if missing > 0:
            moved[below] -= missing / 2
            moved[above] += missing / 2
    return moved


def _mark(axes: Axes, task: TaskFound, full: int | None) -> None:
    """Mark the recommended cut and, if it is another one, the best."""
    if task.not_chosen is not None:
        return
    wanted = [(task.choice, style.ACCENT, "recommended")]
    if task.best != task.choice:
        wanted.append((task.best, style.PAPER, "best score"))
    for name, fill, label in wanted:
        row = task.row(name)
        if row is None or row.value is None:
            continue
        label = f"{label}: {short(_where(row, full), 24)}"
        if row.boundary is None:  # no place on the axis
            draw_level(axes, row.value, label)
        else:
            draw_disc(axes, row.boundary, row.value, label, fill=fill)


def _where(row: Row, full: int | None) -> str:
    if row.name in (BASE, full):
        return named(row.name, full)
    return called(row.name) if isinstance(row.name, str) else integer(row.name)


def _set_ticks(axes: Axes, boundaries: Sequence[int]) -> None:
    """Write round numbers below the axis, the last boundary, and "base" for the base model."""
    last = max(boundaries)
    step = next((each for each in _STEPS if last / each <= _MOST_TICKS), _STEPS[-1])
    # as far from the ends as the labels need
    ticks = [tick for tick in range(0, last, step) if tick > 0.4 * step and last - tick > step / 2]
    if BASE in boundaries:
        ticks.insert(0, BASE)
    else:
        ticks.insert(0, min(boundaries))
    axes.set_xticks([*dict.fromkeys([*ticks, last])])
    axes.xaxis.set_major_formatter(lambda value, _: "base" if value == BASE else f"{value:g}")


def _alt(task: TaskFound, full: int | None, name: str) -> str:
    scores = ", ".join(
        f"{label} {number(row.value)}"
        for cut, label in (
            (BASE, "base model"),
            (full, "whole adapter"),
            (task.best, f"best at {called(task.best)}"),
        )
        if (row := task.row(cut)) is not None and not (task.not_chosen and "best" in label)
    )
    return f"{name} at {len(task.rows)} boundaries: {scores}."
