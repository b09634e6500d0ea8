"""The families of cuts of a task against the number of layers that they keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style
from .axes import DASHES, as_array, band, label_axes
from .data import Family, Row, TaskFound
from .formatting import called, metric_name, named, number, short
from .style import Plot

UPPER = "upper"  # the default family, whose cuts are the boundaries
_HEIGHT, _LEGEND_ROW = 2.9, 0.17  # in inches
_MARKERS = f"{style.MARKERS[1:]}PX<>"
_COLUMNS = 3  # of the legend
_ENDS = ("low", "high")
_RATIOS = (3, 1)  # of the widths: cuts by layers, and by strength


def draw_families(task: TaskFound, full: int | None) -> Plot | None:
    """Plot the metric of all orders against the number of kept layers, and scaling beside it.

    Return None without such families.
    """
    orders = [family for family in task.families if family.kind == "order"]
    lists = [family for family in task.families if family.kind == "list"]
    scales = [family for family in task.families if family.kind == "scale"]
    if not orders + lists + scales:
        return None
    rows = math.ceil((len(orders + lists + scales) + 3) / _COLUMNS)
    height = _HEIGHT + _LEGEND_ROW * rows
    figure = Figure(figsize=(style.WIDTH, height), layout="constrained")
    by_layers = bool(orders or lists or _is_swept(task.rows))
    ratios = _RATIOS if by_layers and scales else (1,)
    panels = figure.subplots(1, len(ratios), sharey=True, squeeze=False, width_ratios=ratios)[0]
    for axes in panels:
        style.prepare(axes)
    if _is_swept(task.rows):
        _draw_upper(panels[0], task.rows)
    for axes in panels:
        whole = task.row(full)
        if whole is not None and whole.value is not None:
            axes.axhline(whole.value, color=style.MUTED, linewidth=1, label="whole adapter")
    # colours repeat before markers do, so that no two families look alike
    looks = zip(
        cycle((*style.SERIES[1:], style.INK)), cycle(DASHES[1:]), cycle(_MARKERS), strict=False
    )
    for family in [*orders, *lists, *scales]:
        axes = panels[-1] if family in scales else panels[0]
        _draw(axes, family, next(looks))
    name = metric_name(task.metric)
    if scales:
        label_axes(panels[-1], "", "strength")
        panels[-1].xaxis.set_major_locator(MaxNLocator(nbins=3 if by_layers else 6))
        panels[-1].margins(x=0.12)
    if by_layers:
        label_axes(panels[0], name, "layers kept")
        panels[0].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    panels[0].set_ylabel(name)
    _mark_best(panels, task, scales)
    style.legend(figure, *panels, columns=_COLUMNS)
    return Plot("families", "Families of cuts", _alt(task, name, full), figure)


def _is_swept(rows: Sequence[Row]) -> bool:
    """Return whether there are more boundaries than the base and the whole adapter."""
    return len(rows) > 2


def _draw_upper(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the boundaries with their intervals."""
    xs, ys = as_array([row.kept_layers for row in rows]), as_array([row.value for row in rows])
    low, high = (as_array([getattr(row, f"value_{end}") for row in rows]) for end in _ENDS)
    if np.isfinite(low).any():
        band(axes, xs, low, high, None)
    axes.plot(xs, ys, color=style.ACCENT, linewidth=2.2, label=f"{UPPER} (boundaries)")


def _draw(axes: Axes, family: Family, look: tuple[str, object, str]) -> None:
    """Draw a family: an order or scale as a line, cuts of no order as points."""
    colour, dashes, marker = look
    place = "strength" if family.kind == "scale" else "kept_layers"
    rows = [row for row in family.cuts if row.value is not None]
    points = sorted((x, row.value) for row in rows if (x := getattr(row, place)) is not None)
    many = len(points) > 12 and family.kind != "list"
    axes.plot(
        as_array([x for x, _ in points]),
        as_array([y for _, y in points]),
        color=colour,
        linestyle="none" if family.kind == "list" else dashes,
        marker=marker,
        markevery=max(1, len(points) // 8) if many else 1,
        linewidth=1.3,
        label=short(family.name, 22),
    )


def _mark_best(panels: Sequence[Axes], task: TaskFound, scales: Sequence[Family]) -> None:
    """Ring the best cut."""
    best = task.row(task.best)
    if best is None or best.value is None or task.not_chosen is not None:
        return
    in_scale = any(best in family.cuts for family in scales)
    # an end of the scale is a boundary too, and has a place among the orders if there are any
    scaled = in_scale and (len(panels) == 1 or not isinstance(task.best, int))
    place = best.strength if scaled else best.kept_layers
    if place is not None:
        panels[-1 if scaled else 0].plot(
            [place],
            [best.value],
            marker="o",
            markersize=9,
            color="none",
            markeredgecolor=style.INK,
            markeredgewidth=1.4,
            linestyle="none",
            zorder=5,
            label=f"best: {short(called(task.best), 18)}",
        )


def _alt(task: TaskFound, metric: str, full: int | None) -> str:
    """Return the best cut of every family in words."""
    bests = [(family.name, family.best(task.higher_is_better)) for family in task.families]
    parts = [
        f"{name} {number(best.value)} with {short(named(best.name, full), 40)}"
        for name, best in bests
        if best is not None
    ]
    return f"Best {metric} of each family of cuts: {'; '.join(parts)}."
