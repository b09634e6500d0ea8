"""Plots of a trace: curves over layers, and a heatmap of one document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from ..files import TRACED_BASE, TRACED_FULL
from . import style

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
        figure, (axes,) = style.new_figure()
        cuts = 0
        for name, rows in entry["models"].items():
            if name == TRACED_BASE:
                colour = style.MUTED
            else:
                colour = style.SERIES[cuts % len(style.SERIES)]
                cuts += 1
            layers = [row["layer"] for row in rows]
            means = [row["mean"] for row in rows]
            axes.plot(layers, means, color=colour, label=_NAMES.get(name, name))
            if name in _NAMES:  # the bands of further cuts would overlap
                low, high = ([row[key] for row in rows] for key in ("q25", "q75"))
                axes.fill_between(layers, low, high, color=colour, alpha=0.15, linewidth=0)
        _mark(axes, entry)
        axes.set_xlabel("layer")
        axes.set_ylabel("probability of a gold token")
        axes.set_ylim(bottom=0)
        style.legend(figure, axes)
        style.save(figure, folder, "trace")


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
    """Mark the candidate and its interval."""
    candidate = entry["candidate"]
    if candidate is not None:
        low, high = entry["candidate_low"] - 0.5, entry["candidate_high"] + 0.5
        axes.axvspan(low, high, color=style.WASH, linewidth=0, zorder=0)
        axes.axvline(
            candidate,
            color=style.INK,
            linewidth=1,
            linestyle=(0, (1, 2)),
            label=f"candidate {candidate}",
        )
