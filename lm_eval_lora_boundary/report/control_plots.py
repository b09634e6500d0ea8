"""The task of a sweep against a control task, a point for each cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from . import style
from .axes import as_array
from .control_tasks import ControlTask
from .data import BASE, CutName, Row, TaskFound
from .formatting import called, metric_name, named, number, short
from .style import Plot

_MOST_ENDS = 48  # with more cuts, intervals would cover each other


def draw_controls(
    task: TaskFound, controls: Sequence[ControlTask], full: int | None
) -> Iterator[Plot]:
    """Yield a plot for each control task."""
    with style.house_style():
        for i, control in enumerate(controls):
            plot = _draw(task, control, full, "control" if not i else f"control_{i + 1}")
            if plot is not None:
                yield plot


def _draw(task: TaskFound, control: ControlTask, full: int | None, name: str) -> Plot | None:
    here = task.all_rows
    cuts = [
        cut
        for cut, row in control.rows.items()
        if row.value is not None and cut in here and here[cut].value is not None
    ]
    if len(cuts) < 2:
        return None
    figure, (axes,) = style.new_figure()
    ends = len(cuts) <= _MOST_ENDS
    marks = _marks(task, cuts, full)
    plain = [cut for cut in cuts if cut not in marks]
    _points(axes, task, control, plain, style.MUTED, "o", "other cuts", ends=ends)
    boundaries = sorted(cut for cut in cuts if isinstance(cut, int))
    # the way from the base model to the whole adapter
    axes.plot(
        as_array([here[cut].value for cut in boundaries]),
        as_array([control.rows[cut].value for cut in boundaries]),
        color=style.LINE,
        linewidth=1,
        zorder=1,
    )
    looks = zip(style.SERIES, style.MARKERS, strict=True)
    for (cut, label), (colour, kind) in zip(marks.items(), looks, strict=False):
        _points(axes, task, control, [cut], colour, kind, label, ends=True)
    axes.set_xlabel(_label(task.name, task.metric, task.higher_is_better))
    axes.set_ylabel(_label(control.name, control.metric, control.higher_is_better))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6))
        axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    style.legend(figure, axes)
    alt = f"{metric_name(task.metric)} of {task.name} against {metric_name(control.metric)} of "
    alt += f"{control.name} under {len(cuts)} cuts: " + "; ".join(
        f"{label} {number(here[cut].value)} and {number(control.rows[cut].value)}"
        for cut, label in marks.items()
    )
    return Plot(name, f"What cuts do to {control.name}", f"{alt}.", figure)


def _marks(task: TaskFound, cuts: Sequence[CutName], full: int | None) -> dict[CutName, str]:
    """Return the cuts to mark, with their labels."""
    wanted: list[tuple[CutName | None, str]] = [
        (full, "whole adapter"),
        (BASE, "base model"),
        (task.smallest_noninferior, "smallest that keeps the gain"),
        (task.best if task.not_chosen is None else None, "best"),
    ]
    marks: dict[CutName, str] = {}
    for cut, label in wanted:
        if cut is not None and cut in cuts and cut not in marks:
            ends = cut in (full, BASE)
            marks[cut] = named(cut, full) if ends else f"{label}: {short(called(cut), 24)}"
    return marks


def _points(
    axes: Axes,
    task: TaskFound,
    control: ControlTask,
    cuts: Sequence[CutName],
    colour: str,
    kind: str,
    label: str,
    *,
    ends: bool,
) -> None:
    if not cuts:
        return
    here = [task.all_rows[cut] for cut in cuts]
    there = [control.rows[cut] for cut in cuts]
    axes.errorbar(
        as_array([row.value for row in here]),
        as_array([row.value for row in there]),
        xerr=_reach(here) if ends else None,
        yerr=_reach(there) if ends else None,
        color=colour,
        marker=kind,
        markersize=5 if len(cuts) == 1 else 3,
        linestyle="none",
        elinewidth=1 if len(cuts) == 1 else 0.5,
        alpha=1 if len(cuts) == 1 else 0.55,
        zorder=4 if len(cuts) == 1 else 2,
        label=label,
    )


def _reach(rows: Sequence[Row]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return how far intervals reach to both sides, 0 where there is none."""
    value = as_array([row.value for row in rows])
    ends = [as_array([getattr(row, f"value_{end}") for row in rows]) for end in ("low", "high")]
    return np.nan_to_num(np.abs(np.array(ends) - value))


def _label(task: str, metric: str, higher_is_better: bool) -> str:
    direction = "" if higher_is_better else ", lower is better"
    return f"{short(task, 28)}: {metric_name(metric)}{direction}"
