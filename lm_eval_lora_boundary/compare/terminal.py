"""A comparison for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .comparison import Cell, Comparison

_STYLES = {"better": "green", "worse": "red", "": ""}


def parts(comparison: Comparison) -> Iterator[RenderableType]:
    """Yield sentences, tables, legend and warnings."""
    yield from (Text(sentence) for sentence in comparison.sentences)
    for grid in comparison.grids:
        table = Table(title=Text(grid.title) if grid.title else None, show_lines=True)
        for heading in grid.headings:
            table.add_column(
                Text("\n".join(heading.lines)),
                justify="left" if heading.text else "right",
                overflow="fold",
            )
        for row in grid.rows:
            table.add_row(*map(_text, row))
        yield table
    yield from (Text(line, style="dim") for line in comparison.legend)
    yield from (Text(f"take care: {line}", style="yellow") for line in comparison.warnings)


def _text(cell: Cell) -> Text:
    """Return a cell; rich must not read markup in names."""
    first, *others = cell.lines
    found = Text().append(first, style="bold" if cell.strong else "")
    for line in others:
        found.append(f"\n{line}", style=_STYLES[cell.tone])
    return found
