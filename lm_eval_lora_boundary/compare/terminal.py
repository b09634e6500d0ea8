"""A comparison as output for the terminal."""

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
    for content in comparison.tables:
        table = Table(title=Text(content.title) if content.title else None, show_lines=True)
        for heading in content.headings:
            table.add_column(
                Text("\n".join(heading.lines)),
                justify="left" if heading.left_aligned else "right",
                overflow="fold",
            )
        for row in content.rows:
            table.add_row(*map(_text, row))
        yield table
    yield from (Text(line, style="dim") for line in comparison.legend)
    yield from (Text(f"warning: {line}", style="yellow") for line in comparison.warnings)


def _text(cell: Cell) -> Text:
    """Return a cell as text, so that rich does not read markup in names."""
    first, *others = cell.lines
    text = Text().append(first, style="bold" if cell.bold else "")
    for line in others:
        text.append(f"\n{line}", style=_STYLES[cell.tone])
    return text
