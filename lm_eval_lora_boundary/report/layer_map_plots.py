"""The layer map as a picture: what the LoRA of every single layer is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from . import style
from .axes import as_array, label_axes
from .data import LayerEffect, TaskFound
from .formatting import metric_name, short, signed
from .layer_overlap import importance
from .style import Plot

Effects = Sequence[LayerEffect]

# what a kind of map asks
ASKS = {
    "each": "what the adapter loses without the layer",
    "only": "what the layer alone adds to the base model",
}
_TITLES = {
    "each": "Each layer's LoRA left out of the adapter",
    "only": "Each layer's LoRA alone on the base model",
}
_PANEL, _REST = 1.4, 0.95  # heights in inches: of one map, and of legend and labels
_COUNTS = 0.5  # of the panel that counts tasks
_HELPS, _HURTS, _NEITHER = style.ACCENT, style.SERIES[1], style.MUTED


def draw_layer_map(task: TaskFound, full: int | None) -> Plot | None:
    """Plot the layer maps of a task above each other; ``full`` is the last layer, if known."""
    maps = {kind: found for kind, found in task.layer_maps.items() if known(found)}
    if not maps:
        return None
    figure, panels = style.new_figure(len(maps), _REST + _PANEL * len(maps))
    for axes, (kind, found) in zip(panels, maps.items(), strict=True):
        _draw(axes, found)
        _label(axes, ASKS[kind], task)
    # the same unit, so the same scale
    ends = [end for axes in panels for end in axes.get_ylim()]
    for axes in panels:
        axes.set_ylim(min(ends), max(ends))
    _finish(panels[-1], maps.values(), full)
    style.legend(figure, *panels, columns=4)
    alt = "; ".join(f"{ASKS[kind]}, {in_words(found)}" for kind, found in maps.items())
    return Plot("layer_map", "What each layer's LoRA is worth", f"By layer: {alt}.", figure)


def draw_maps(kind: str, tasks: Sequence[TaskFound], full: int | None) -> Plot | None:
    """Plot one kind of map of several tasks, and which layers are among the most important ones.

    Return None if fewer than two tasks have such a map.
    """
    found = [(task, known(task.layer_maps.get(kind, ()))) for task in tasks]
    maps = [(task, effects) for task, effects in found if effects]
    if len(maps) < 2:
        return None
    heights = [_PANEL] * len(maps) + [_COUNTS]
    figure, panels = style.new_figure(len(heights), _REST + sum(heights), heights)
    counts: dict[int, float] = {}
    for axes, (task, effects) in zip(panels, maps, strict=False):
        _draw(axes, effects)
        _label(axes, short(task.name, 40), task)
        important = importance(effects)
        _draw_important(axes, important)
        counts |= {layer: counts.get(layer, 0) + share for layer, share in important.items()}
    panels[-1].bar([*counts], [*counts.values()], width=0.62, color=style.INK, linewidth=0)
    panels[-1].set_ylim(0, len(maps) + 0.2)
    panels[-1].yaxis.set_major_locator(
        MaxNLocator(integer=True, nbins=min(4, len(maps)), min_n_ticks=1)
    )
    panels[-1].set_ylabel("tasks")
    _head(panels[-1], "in how many tasks it is among the most important quarter", "")
    _finish(panels[-1], [effects for _, effects in maps], full)
    style.legend(figure, *panels[:-1], columns=3)
    alt = "; ".join(f"{task.name}, {in_words(effects)}" for task, effects in maps)
    name, alt = f"layer_map_{kind}", f"By layer, {ASKS[kind]}: {alt}."
    return Plot(name, _TITLES[kind], alt, figure)


def known(found: Effects) -> list[LayerEffect]:
    """Return the layers whose effect is available."""
    return [each for each in found if each.effect is not None]


def in_words(found: Effects) -> str:
    """Return the largest effects and how many are significant."""
    shown = sorted(known(found), key=lambda each: -(each.effect or 0))
    most = ", ".join(f"layer {each.layer} {signed(each.effect)}" for each in shown[:3])
    helps = sum(each.significant and (each.effect or 0) > 0 for each in shown)
    hurts = sum(each.significant and (each.effect or 0) < 0 for each in shown)
    return (
        f"most in {most}; of {len(shown)} layers, {helps} significantly help and {hurts} "
        "significantly hurt"
    )


def _draw(axes: Axes, found: Effects) -> None:
    """Draw a dot with an interval for every layer, on a bar that starts at zero.

    What is not significant is hollow and grey, so that colour is not needed to see it.
    """
    axes.axhline(0, color=style.INK, linewidth=0.9, zorder=2)
    size = max(2.2, min(4.4, 150 / len(found)))
    intervals = "95 %, simultaneous"
    for significant, helps, colour, label in (
        (False, None, _NEITHER, "not significant"),
        (True, True, _HELPS, "helps"),
        (True, False, _HURTS, "hurts"),
    ):
        some = [
            each
            for each in known(found)
            if each.significant == significant and helps in (None, (each.effect or 0) > 0)
        ]
        if not some:
            continue
        xs, effects, low, high = (
            as_array([getattr(each, name) for each in some])
            for name in ("layer", "effect", "ci_low", "ci_high")
        )
        shade = 0.55 if significant else 0.2
        axes.bar(xs, effects, width=0.62, color=colour, alpha=shade, linewidth=0, zorder=1)
        if np.isfinite(low).any():
            axes.vlines(xs, low, high, color=colour, linewidth=1.1, zorder=3, label=intervals)
            intervals = "_"  # not in the legend again
        axes.plot(
            xs,
            effects,
            linestyle="none",
            marker="o",
            markersize=size,
            markerfacecolor=colour if significant else style.PAPER,
            markeredgecolor=colour,
            markeredgewidth=1,
            zorder=4,
            label=label,
        )


def _draw_important(axes: Axes, important: Mapping[int, float]) -> None:
    """Mark the most important layers at the lower edge; smaller if they count in part."""
    low, high = axes.get_ylim()
    edge = low - 0.07 * (high - low)
    axes.set_ylim(edge - 0.07 * (high - low), high)
    marked = [(layer, share) for layer, share in important.items() if share > 0]
    axes.scatter(
        [layer for layer, _ in marked],
        [edge] * len(marked),
        s=[14 * share for _, share in marked],
        marker="s",
        color=style.INK,
        linewidths=0,
        label="most important quarter",
    )


def _label(axes: Axes, title: str, task: TaskFound) -> None:
    metric = short(metric_name(task.metric), 16)
    # up is always better
    label_axes(axes, metric if task.higher_is_better else f"decrease in {metric}", "")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    _head(axes, title, "↑ helps   ↓ hurts")


def _head(axes: Axes, left: str, right: str) -> None:
    """Write a line above axes."""
    axes.set_title(left, loc="left", fontsize=8, color=style.INK, pad=4)
    axes.set_title(right, loc="right", fontsize=8, color=style.MUTED, pad=4)


def _finish(axes: Axes, maps: Iterable[Effects], full: int | None) -> None:
    """Show all layers of the model, also those without LoRA."""
    last = max(each.layer for found in maps for each in found)
    axes.set_xlim(-0.8, max(last, full or 0) + 0.8)
    axes.set_xlabel("layer")
