"""The plot of a gradient: the map of the layers, and the curve over the boundaries below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import style
from .axes import draw_disc, label_axes, marker
from .formatting import integer

_PREDICTED = "from the gradient"
_MEASURED = "measured"
_BAR = 0.7  # width of a bar, in layers


def plot_gradient(found: Mapping[str, Any], folder: Path) -> None:
    """Plot what the gradient of a task says: ``gradient.png`` and ``gradient.svg``.

    Args:
        found: ``gradient`` of the task in ``trace.json``.
        folder: The output folder.

    Raises:
        OutputError: The files cannot be written.
    """
    with style.house_style():
        style.save(_drawn(found), folder, "gradient")


def _drawn(found: Mapping[str, Any]) -> Figure:
    figure, (top, bottom) = style.new_figure(2)
    measured = found["measured"]
    _draw_map(top, found["layers"], measured and measured["layers"])
    _draw_curve(bottom, found)
    label_axes(top, "cost of dropping\nthe layer (nats)", "")
    label_axes(bottom, "gain over the\nbase model (nats)", "layer (top), boundary (bottom)")
    style.legend(figure, top, bottom)
    figure.align_ylabels([top, bottom])
    return figure


def _draw_map(
    axes: Axes, rows: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]] | None
) -> None:
    """Draw the map as bars with standard errors, and the measured one as dots."""
    layers = [row["layer"] for row in rows]
    axes.axhline(0, color=style.MUTED, linewidth=0.8, zorder=1)
    axes.bar(
        layers,
        [row["map"] for row in rows],
        width=_BAR,
        color=style.ACCENT,
        alpha=0.75,
        linewidth=0,
        label=_PREDICTED,
        # nothing is drawn for a single document, which has no standard error
        yerr=[row["map_stderr"] or 0 for row in rows],
        error_kw={"ecolor": style.INK, "elinewidth": 0.8},
    )
    if measured is not None:
        axes.plot(
            layers,
            [row["map"] for row in measured],
            color=style.SERIES[1],
            marker="o",
            linestyle="none",
            zorder=4,
            label=_MEASURED,
        )


def _draw_curve(axes: Axes, found: Mapping[str, Any]) -> None:
    """Draw the curve with its standard error, the measured one, and the boundaries they suggest."""
    boundaries, curve, error = _curve(found["layers"])
    axes.axhline(0, color=style.MUTED, linewidth=0.8, zorder=1)
    axes.fill_between(
        boundaries, curve - error, curve + error, color=style.ACCENT, alpha=0.16, linewidth=0
    )
    axes.plot(boundaries, curve, color=style.ACCENT, label="_")
    suggested, measured = found["suggested"], found["measured"]
    label = f"suggested: {integer(suggested)}"
    draw_disc(axes, suggested, curve[suggested + 1], label, fill=style.PAPER)
    if measured is not None:
        _, gain, _ = _curve(measured["layers"])
        colour = style.SERIES[1]
        # a line for the eye, and the legend of the dots above
        axes.plot(boundaries, gain, color=colour, marker=marker(boundaries), label="_", zorder=3)
        best = measured["best"]
        label = f"best: {integer(best)}"
        draw_disc(axes, best, gain[best + 1], label, fill=style.PAPER, edge=colour)


def _curve(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the boundaries ``-1..N-1``, a curve over them, and its standard error."""
    return (
        np.arange(-1, len(rows)),
        np.array([0.0, *(row["curve"] for row in rows)]),
        np.array([0.0, *(row["curve_stderr"] or 0 for row in rows)]),
    )
