"""Plots of a trace: curves over layers, and one document token by token."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import OutputError
from . import style
from .data import TRACED_BASE, TRACED_FULL

_NAMES = {TRACED_FULL: "whole adapter", TRACED_BASE: "base model"}
_MOST_TOKENS = 60  # more columns than this cannot be read
_VISIBLE = str.maketrans({" ": "␣", "\n": "↵", "\t": "→"})


def plot_curves(entry: Mapping[str, Any], folder: Path) -> None:
    """Draw the mean probability of the gold answer over layers: ``trace.png`` and ``trace.svg``.

    The bands are quartiles over documents.

    Args:
        entry: A task's entry in ``trace.json``.
        folder: Where to write.

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
            if name in _NAMES:  # bands of cuts would hide each other
                low, high = ([row[key] for row in rows] for key in ("q25", "q75"))
                axes.fill_between(layers, low, high, color=colour, alpha=0.15, linewidth=0)
        _mark(axes, entry)
        axes.set_xlabel("layer")
        axes.set_ylabel("probability of a gold token")
        axes.set_ylim(bottom=0)
        style.legend(figure, axes)
        _save(figure, folder, "trace")


def plot_heatmap(
    doc_id: int, tokens: Sequence[str], probability: Sequence[Sequence[float]], folder: Path
) -> None:
    """Draw one document: ``trace_heatmap.png`` and ``trace_heatmap.svg``.

    Args:
        doc_id: The document.
        tokens: Its gold tokens; the first 60 are drawn.
        probability: Their probabilities under the full adapter, (layers, tokens).
        folder: Where to write.

    Raises:
        OutputError: The files cannot be written.
    """
    shown = list(tokens[:_MOST_TOKENS])
    with style.house_style():
        figure, (axes,) = style.new_figure()
        # inches: room for each token and each layer
        figure.set_size_inches(1.6 + 0.2 * max(len(shown), 14), 1.6 + 0.12 * len(probability))
        axes.grid(visible=False)
        values = [row[: len(shown)] for row in probability]
        image = axes.imshow(values, aspect="auto", origin="lower", cmap="viridis", vmin=0, vmax=1)
        figure.colorbar(image, ax=axes, label="probability")
        axes.set_xticks(range(len(shown)))
        labels = axes.set_xticklabels([token.translate(_VISIBLE) for token in shown], rotation=90)
        for label in labels:
            label.set_parse_math(False)  # answers may hold dollars
        axes.set_ylabel("layer")
        cut = f", {len(shown)} of {len(tokens)} tokens" if len(shown) < len(tokens) else ""
        axes.set_xlabel(f"gold answer of document {doc_id}{cut}")
        _save(figure, folder, "trace_heatmap")


def _mark(axes: Axes, entry: Mapping[str, Any]) -> None:
    """Mark the candidate and its interval, if there is one."""
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


def _save(figure: Figure, folder: Path, name: str) -> None:
    """Write PNG and SVG, the same bytes for the same figure."""
    with warnings.catch_warnings():
        # gold answers may be in any script; a missing glyph is drawn as a box
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        svg, png = style.svg(figure), style.png(figure)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
        (folder / f"{name}.png").write_bytes(png)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
