"""What a comparison says, before it is Markdown, HTML, CSV or a table in a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        lines: What it says, one or more lines of plain text.
        hover: More about it, for HTML.
        strong: Whether it stands out.
        tone: ``better`` or ``worse`` than the baseline, significantly; else empty.
        text: Whether it is text, which is aligned to the left.
    """

    lines: tuple[str, ...]
    hover: str = ""
    strong: bool = False
    tone: str = ""
    text: bool = False


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        title: What it shows.
        headings: One per column.
        rows: Cells, as many as there are headings in each row.
    """

    title: str
    headings: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Comparison:
    """A comparison of results or of sweeps.

    Attributes:
        title: What is compared.
        grids: The tables.
        sentences: The outcome in plain words.
        legend: What signs in the tables mean.
        warnings: What a reader must know to judge the numbers.
        records: Every number at full precision: one mapping per model, task and metric, or per
            sweep and task; all with the same keys.
    """

    title: str
    grids: tuple[Grid, ...]
    sentences: tuple[str, ...]
    legend: tuple[str, ...]
    warnings: tuple[str, ...]
    records: tuple[dict[str, Any], ...]

    def to_markdown(self) -> str:
        """Return tables and notes as GitHub-flavoured Markdown."""
        from .render import markdown

        return markdown(self)

    def to_html(self) -> str:
        """Return one self-contained HTML page."""
        from .render import html

        return html(self)

    def to_csv(self) -> str:
        """Return the records as CSV with a header line."""
        from .render import csv

        return csv(self)


def text(*lines: str, hover: str = "", strong: bool = False) -> Cell:
    """Return a cell of text."""
    return Cell(lines, hover, strong, text=True)


def unique(lines: list[str]) -> tuple[str, ...]:
    """Return lines in their order, each once."""
    return tuple(dict.fromkeys(lines))
