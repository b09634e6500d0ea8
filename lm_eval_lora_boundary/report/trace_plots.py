"""Plots of a trace: curves over layers, and a heatmap of one document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..files import TRACED_BASE, TRACED_FULL
from . import style
from .axes import DASHES, draw_disc

_NAMES = {TRACED_FULL: "whole adapter", TRACED_BASE: "base model"}
_MOST_TOKENS = 60  # more columns would be unreadable
_VISIBLE = str.maketrans({" ": "␣", "\n": "↵", "\t": "→"})


def plot_curves(entry: Mapping[str, Any], folder: Path) -> None:
    """Plot the probability of the gold tokens over layers: ``trace.png`` and ``trace.svg``.

    Lines are means over documents, bands are quartiles. ``entry`` is a task's in ``trace.json``.

    Raises:
        OutputError: The files cannot be written.
    """
    with style.house_style():
        style.save(draw_curves(entry), folder, "trace")


def draw_curves(entry: Mapping[str, Any]) -> Figure:
    """Draw the curves of a task so that curves in the same place can all be seen."""
    figure, (axes,) = style.new_figure(height=3.6)
    # the whole adapter first: further curves are thinner and dashed, and lie on it
    models = sorted(entry["models"].items(), key=lambda each: each[0] != TRACED_FULL)
    colours = iter(cycle(style.SERIES[1:]))
    for i, (name, rows) in enumerate(models):
        colour = {TRACED_FULL: style.ACCENT, TRACED_BASE: style.MUTED}.get(name) or next(colours)
        layers = [row["layer"] for row in rows]
        axes.plot(
            layers,
            [row["mean"] for row in rows],
            color=colour,
            label=_NAMES.get(name, name.replace("=", " ")),
            linewidth=max(1.0, 3.0 - 0.6 * i),
            linestyle=DASHES[i % len(DASHES)],
            solid_capstyle="round",
        )
        if name in _NAMES:  # the bands of further cuts would overlap
            low, high = ([row[key] for row in rows] for key in ("q25", "q75"))
            axes.fill_between(layers, low, high, color=colour, alpha=0.13, linewidth=0)
    _mark(axes, entry)
    axes.set_title("Gold answer read out after each layer", loc="left", fontsize=10, pad=6)
    axes.set_xlabel("layer")
    axes.set_ylabel("mean probability of a gold token")
    axes.set_ylim(bottom=0)
    style.legend(figure, axes)
    return figure


def plot_heatmap(
    doc_id: int, tokens: Sequence[str], probability: Sequence[Sequence[float]], folder: Path
) -> None:
    """Plot one document: ``trace_heatmap.png`` and ``trace_heatmap.svg``.

    Args:
        doc_id: The document.
        tokens: Its gold tokens; only the first 60 are shown.
        probability: Their probabilities under the whole adapter, shape (layers, tokens).
        folder: The output folder.

    Raises:
        OutputError: The files cannot be written.
    """
    shown = list(tokens[:_MOST_TOKENS])
    with style.house_style():
        figure, (axes,) = style.new_figure()
        # in inches, with room for every token and layer
        figure.set_size_inches(1.6 + 0.2 * max(len(shown), 14), 1.6 + 0.12 * len(probability))
        axes.grid(visible=False)
        values = [row[: len(shown)] for row in probability]
        image = axes.imshow(values, aspect="auto", origin="lower", cmap="viridis", vmin=0, vmax=1)
        figure.colorbar(image, ax=axes, label="probability")
        axes.set_xticks(range(len(shown)))
        labels = axes.set_xticklabels([token.translate(_VISIBLE) for token in shown], rotation=90)
        for label in labels:
            label.set_parse_math(False)  # answers may contain dollar signs
        axes.set_ylabel("layer")
        part = f", {len(shown)} of {len(tokens)} tokens" if len(shown) < len(tokens) else ""
        axes.set_xlabel(f"gold answer of document {doc_id}{part}")
        style.save(figure, folder, "trace_heatmap")


def _mark(axes: Axes, entry: Mapping[str, Any]) -> None:
    """Mark the candidate and its interval, or say that there is none."""
    candidate = entry["candidate"]
    if candidate is None:
        axes.plot([], [], linestyle="none", label="no candidate: no sharp rise")
        return
    low, high = entry["candidate_low"] - 0.5, entry["candidate_high"] + 0.5
    axes.axvspan(low, high, color=style.WASH, linewidth=0, zorder=0)
    axes.axvline(candidate, color=style.INK, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    means = {row["layer"]: row["mean"] for row in entry["models"][TRACED_FULL]}
    label = f"candidate: layer {candidate}"
    draw_disc(axes, candidate, means[candidate], label, fill=style.PAPER, edge=style.INK)
