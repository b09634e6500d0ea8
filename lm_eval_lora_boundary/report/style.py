"""The look of the plots: one accent colour, two colour schemes, text kept as text."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import OutputError
from ..files import write_bytes, write_text

PAPER = "#ffffff"
INK = "#1c1c1f"
MUTED = "#62626b"
LINE = "#dededf"
WASH = "#f3f3f1"
ACCENT = "#005fa3"
# more series, based on Okabe and Ito's palette for colour-blind readers
SERIES = (ACCENT, "#b4540a", "#00795c", "#9c4a80", "#6f6a00", "#555560")
MARKERS = "os^Dv*"
# the dark counterpart of each light colour: one drawing serves both schemes
_DARK = {
    PAPER: "#141416",
    INK: "#ececee",
    MUTED: "#a2a2ab",
    LINE: "#37373c",
    WASH: "#1e1e21",
    ACCENT: "#6cb8f2",
    "#b4540a": "#f0964b",
    "#00795c": "#3fc39d",
    "#9c4a80": "#dd93c3",
    "#6f6a00": "#d3cb4a",
    "#555560": "#b9b9c4",
}
# narrow, so that text is still 9 pixels high on a screen of 360 CSS pixels
WIDTH = 4.2
HEIGHT = 3.1
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_SETTINGS: dict[Any, object] = {
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.4,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "svg.hashsalt": "lm-eval-lora-boundary",
    "text.color": INK,
    "text.parse_math": False,  # names of metrics and tasks are not formulas
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
}


@dataclass(frozen=True)
class Plot:
    """A drawn plot.

    Attributes:
        name: File name without extension.
        title: Heading.
        alt: Text alternative for readers who cannot see the plot.
        figure: The figure.
    """

    name: str
    title: str
    alt: str
    figure: Figure


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save figures in the style of the report."""
    # start from matplotlib's defaults, so that a user's matplotlibrc has no effect
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(
    rows: int = 1,
    height: float | None = None,
    ratios: Sequence[float] | None = None,
    width: float = WIDTH,
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with axes stacked vertically and a shared x-axis.

    Args:
        rows: Number of axes.
        height: Of the figure, in inches.
        ratios: Relative heights of the axes.
        width: Of the figure, in inches.
    """
    usual = HEIGHT if rows == 1 else 2.4 * rows
    figure = Figure(figsize=(width, height or usual), layout="constrained")
    stacked = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=ratios)
    axes = list(stacked[:, 0])
    for ax in axes:
        prepare(ax)
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    return figure, axes


def prepare(axes: Axes) -> None:
    """Draw a light grid instead of ticks."""
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.tick_params(length=0)


def legend(figure: Figure, *axes: Axes, columns: int = 2) -> None:
    """Draw one legend for all axes, above them, in as many columns as fit."""
    entries: dict[str, Artist] = {}
    for ax in axes:
        handles, labels = ax.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    room = figure.get_figwidth() * figure.dpi
    for wanted in range(min(columns, len(entries)), 0, -1):
        drawn = figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside upper left",
            ncols=wanted,
            handlelength=1.5,
            columnspacing=1.2,
            borderpad=0,
            borderaxespad=0.2,
        )
        # texts are measured without drawing the figure
        if wanted == 1 or drawn.get_window_extent().width <= room:
            return
        drawn.remove()


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """Return a figure as SVG with system fonts; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue().decode("utf-8").replace("'DejaVu Sans'", _FONTS)


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write ``name.svg`` and ``name.png``, and return the SVG.

    Raises:
        OutputError: The files cannot be written.
    """
    with warnings.catch_warnings():
        # text may be in any script; a missing glyph is drawn as a box
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        drawing, image = svg(figure), png(figure)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    write_text(folder / f"{name}.svg", drawing)
    write_bytes(folder / f"{name}.png", image)
    return drawing


def dark(drawing: str) -> str:
    """Convert an SVG from the light to the dark colour scheme."""
    for light, colour in _DARK.items():
        drawing = drawing.replace(light, colour)
    return drawing
