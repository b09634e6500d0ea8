"""The plots of one task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..files import TRACED_BASE, TRACED_FULL
from . import style
from .axes import (
    DASHES,
    Array,
    band,
    label_axes,
    mark,
    mark_best,
    marker,
    metric_values,
    points,
)
from .data import BASE, MAP_KINDS, Row, TaskFound
from .family_plots import draw_families
from .formatting import called, clipped, integer, metric_name, number, share_of_gain, signed, spread
from .layer_map_plots import draw_layer_map, draw_maps
from .main_plot import draw_main
from .style import Plot


def draw(task: TaskFound, full: int | None) -> Iterator[Plot]:
    """Yield the plots that have data; ``full`` is the whole adapter's boundary, if known."""
    makers: tuple[Callable[[TaskFound, int | None], Plot | None], ...] = (
        _main,
        _narrow,
        draw_families,
        draw_layer_map,
        _difference,
        _kept,
        _metrics,
        _length_ratio,
        _trace,
    )
    with style.house_style():
        for make in makers:
            plot = make(task, full)
            if plot is not None:
                yield plot


def draw_together(tasks: Sequence[TaskFound], full: int | None) -> Iterator[Plot]:
    """Yield the plots that compare tasks."""
    with style.house_style():
        for kind in MAP_KINDS:
            plot = draw_maps(kind, tasks, full)
            if plot is not None:
                yield plot


def _main(task: TaskFound, full: int | None) -> Plot:
    return draw_main(task, full, wide=True)


def _narrow(task: TaskFound, full: int | None) -> Plot:
    return draw_main(task, full, wide=False)


def _difference(task: TaskFound, full: int | None) -> Plot | None:
    """Plot the paired difference from the whole adapter."""
    rows = [row for row in task.rows if row.delta_full is not None]
    if len(rows) < 2:
        return None
    figure, (axes,) = style.new_figure()
    xs, ys = points(rows, "delta_full")
    for prefix, alpha, label in (
        ("simultaneous", 0.1, "95 %, simultaneous"),
        ("ci", 0.2, "95 %, pointwise"),
    ):
        low, high = _ends(rows, prefix, spread(task.limits))
        if np.isfinite(low).any():
            band(axes, xs, low, high, label, alpha)
    axes.axhline(0, color=style.MUTED, linewidth=1, label="whole adapter")
    axes.plot(xs, ys, color=style.ACCENT, marker=marker(xs))
    mark_best(axes, task)
    name = metric_name(task.metric)
    label_axes(axes, f"difference in {name}")
    style.legend(figure, axes)
    alt = (
        f"Paired difference in {name} from the whole adapter at {len(rows)} boundaries, between "
        f"{signed(float(ys.min()))} and {signed(float(ys.max()))}"
    )
    best = task.row(task.best)
    if best is not None:
        alt += f"; {signed(best.delta_full)} at the {task.best_name}, {_name(task)}"
    return Plot("difference", "Difference from the whole adapter", f"{alt}.", figure)


def _kept(task: TaskFound, full: int | None) -> Plot | None:
    """Plot how much of the whole adapter's gain each boundary keeps."""
    rows = [row for row in task.rows if row.gain_kept is not None]
    margin = share_of_gain(task.margin)
    if len(rows) < 2 or not any(row.gain_kept_low is not None for row in rows):
        return None
    figure, (axes,) = style.new_figure()
    xs, ys = points(rows, "gain_kept")
    low, high = points(rows, "gain_kept_low")[1], points(rows, "gain_kept_high")[1]
    band(axes, xs, 100 * low, 100 * high, "90 % interval")
    axes.axhline(100, color=style.MUTED, linewidth=1, label="whole adapter")
    if margin is not None:
        allowed = 100 * (1 - margin)
        label = f"margin: {allowed:g} %"
        axes.axhline(allowed, color=style.INK, linewidth=1, linestyle=DASHES[2], label=label)
    axes.plot(xs, 100 * ys, color=style.ACCENT, marker=marker(xs))
    smallest = task.row(task.smallest_noninferior)
    if smallest is not None and smallest.boundary is not None and smallest.gain_kept is not None:
        axes.plot(
            [smallest.boundary],
            [100 * smallest.gain_kept],
            marker="o",
            markersize=8.5,
            color=style.PAPER,
            markeredgecolor=style.ACCENT,
            markeredgewidth=1.6,
            linestyle="none",
            zorder=4,
            label=f"smallest shown to keep it: {integer(smallest.boundary)}",
        )
    # far below nothing and far above everything, ends of intervals say little
    axes.set_ylim(max(-50, float(np.nanmin(100 * low))), min(200, float(np.nanmax(100 * high))))
    label_axes(axes, "gain kept (%)")
    style.legend(figure, axes)
    found = "no boundary" if smallest is None else called(smallest.name)
    alt = (
        f"Share of the whole adapter's gain in {metric_name(task.metric)} that each of {len(rows)} "
        f"boundaries keeps; the smallest shown to keep it but for the margin: {found}."
    )
    return Plot("gain_kept", "What each boundary keeps of the gain", alt, figure)


def _metrics(task: TaskFound, full: int | None) -> Plot | None:
    """Plot all metrics together, to show the trade-offs between them."""
    curves = {
        key: ys
        for key in task.metric_keys
        if not key.startswith("length_ratio") and np.isfinite(ys := metric_values(task, key)).any()
    }
    whole, unit = task.row(full), "value"
    if whole is not None and not _same_scale(curves.values()):
        unit = "% of the whole adapter"
        curves = {
            key: 100 * ys / scale
            for key, ys in curves.items()
            if (scale := whole.metrics.get(key)) is not None and scale != 0
        }
    same = _first_of_equals(curves)
    if len({*same.values()}) < 2:
        return None
    figure, (axes,) = style.new_figure()
    xs, _ = points(task.rows, "value")
    mixed = len({task.higher(key) for key in curves} - {None}) > 1
    labels = {
        key: f"{metric_name(key)} (lower is better)"
        if mixed and task.higher(key) is False
        else metric_name(key)
        for key in curves
    }
    looks = zip(style.SERIES, style.MARKERS, DASHES, strict=True)
    for i, (key, (colour, kind, dashes)) in enumerate(
        zip(dict.fromkeys(same.values()), looks, strict=False)
    ):
        # later lines are thinner, so that equal curves stay visible
        axes.plot(
            xs,
            curves[key],
            color=colour,
            marker=marker(xs, kind),
            markersize=max(2.2, 4.4 - 0.8 * i),
            linewidth=max(1.0, 2.2 - 0.5 * i),
            linestyle=dashes,
            label=", ".join(labels[each] for each, first in same.items() if first == key),
        )
    mark_best(axes, task)
    label_axes(axes, unit)
    style.legend(figure, axes, columns=2 if mixed else 3)
    alt = "; ".join(
        f"{labels[key]} {number(_at(task.row(task.best), key))} at the {task.best_name}, "
        f"{number(_at(whole, key))} with the whole adapter"
        for key in curves
    )
    return Plot("metrics", "Metrics side by side", f"{alt}.", figure)


def _length_ratio(task: TaskFound, full: int | None) -> Plot | None:
    """Plot the length of responses relative to the references."""
    key = next((key for key in task.metric_keys if key.startswith("length_ratio")), None)
    if key is None:
        return None
    figure, (axes,) = style.new_figure()
    xs, _ = points(task.rows, "value")
    axes.axhline(1, color=style.MUTED, linewidth=1, label="same length as the reference")
    axes.plot(xs, metric_values(task, key), color=style.ACCENT, marker=marker(xs))
    mark_best(axes, task)
    label_axes(axes, "response / reference length")
    style.legend(figure, axes)
    alt = (
        f"Length of responses over length of references: {number(_at(task.row(task.best), key))} "
        f"at the {task.best_name}, {number(_at(task.row(full), key))} with the whole adapter, "
        f"{number(_at(task.row(BASE), key))} with the base model."
    )
    return Plot("length_ratio", "Length of responses", alt, figure)


def _trace(task: TaskFound, full: int | None) -> Plot | None:
    """Plot the trace above the sweep, with a shared axis."""
    trace = task.trace
    if trace is None or not trace.layers:
        return None
    figure, (upper, lower) = style.new_figure(2)
    xs, mean = points(trace.layers, "mean")  # which the candidate is found in
    quartiles = points(trace.layers, "q25")[1], points(trace.layers, "q75")[1]
    band(upper, xs, *quartiles, "quartiles")
    others = [(name, rows) for name, rows in trace.models.items() if name != TRACED_FULL]
    for (name, rows), dashes in zip(others, DASHES[1:], strict=False):
        label = "base model" if name == TRACED_BASE else name.replace("=", " ")
        curve = points(rows, "mean")
        upper.plot(*curve, color=style.MUTED, linestyle=dashes, linewidth=1.2, label=label)
    upper.plot(xs, mean, color=style.ACCENT, marker=marker(xs), label="mean")
    lower.plot(*points(task.rows, "value"), color=style.ACCENT, marker=marker(xs))
    mark(lower, task)
    for axes in (upper, lower):
        if trace.candidate is not None:
            axes.axvline(trace.candidate, color=style.INK, linewidth=1, label="candidate")
            if trace.candidate_low is not None and trace.candidate_high is not None:
                # half a layer to either side, as in the trace's own plot
                low, high = trace.candidate_low - 0.5, trace.candidate_high + 0.5
                axes.axvspan(low, high, color=style.WASH, linewidth=0, zorder=0)
    label_axes(upper, "gold probability", "")
    label_axes(lower, metric_name(task.metric), "layer read out (above) · boundary (below)")
    style.legend(figure, upper, lower, columns=3)
    candidate = "no layer" if trace.candidate is None else f"layer {trace.candidate}"
    alt = (
        f"Mean probability of the gold tokens read out at {len(trace.layers)} layers, above the "
        f"sweep's {metric_name(task.metric)}; the trace suggests {candidate}, the sweep "
        + ("none." if task.not_chosen else f"{called(task.best)}.")
    )
    return Plot("trace_and_sweep", "Trace and sweep", alt, figure)


def _first_of_equals(curves: Mapping[str, Array]) -> dict[str, str]:
    """Return for each curve the first one that is the same, so that none covers another."""
    found: dict[str, str] = {}
    for key, ys in curves.items():
        equals = (first for first in found if np.array_equal(curves[first], ys, equal_nan=True))
        found[key] = next(equals, key)
    return found


def _ends(
    rows: Sequence[Row], prefix: str, possible: tuple[float, float] | None
) -> tuple[Array, Array]:
    """Return the ends of intervals, within what is possible."""
    ends = [
        clipped(getattr(row, f"{prefix}_low"), getattr(row, f"{prefix}_high"), possible)
        for row in rows
    ]
    pairs = np.array(ends, dtype=float)
    return pairs[:, 0], pairs[:, 1]


def _name(task: TaskFound) -> str:
    return integer(task.best) if isinstance(task.best, int) else called(task.best)


def _at(row: Row | None, key: str) -> float | None:
    return None if row is None else row.metrics.get(key)


def _same_scale(curves: Iterable[Array]) -> bool:
    """Return whether curves can share an axis without one of them looking flat."""
    heights = [height for ys in curves if (height := float(np.nanmax(np.abs(ys)))) > 0]
    return not heights or max(heights) <= 20 * min(heights)
