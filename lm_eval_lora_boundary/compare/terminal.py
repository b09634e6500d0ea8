"""A comparison as output for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from rich.console import RenderableType
from rich.text import Text

from ..errors import inert
from ..text_table import TextTable
from .comparison import Cell, Comparison, Table

_STYLES = {"better": "green", "worse": "red", "": ""}


def parts(comparison: Comparison, *, wide: bool = False) -> Iterator[RenderableType]:
    """Yield sentences, tables, legend and warnings; ``wide``: with all columns of the tables."""
    yield from (Text(inert(sentence)) for sentence in comparison.sentences)
    for number, table in enumerate(comparison.tables):
        if number or comparison.sentences:
            yield Text()
        yield _table(table, wide)
    yield Text()
    yield from (Text(inert(line), style="dim") for line in comparison.legend)
    yield from (Text(f"warning: {inert(line)}", style="yellow") for line in comparison.warnings)


def _table(content: Table, wide: bool) -> TextTable:
    names = list(takewhile(lambda heading: heading.left_aligned, content.headings))
    return TextTable(
        headings=[Text("\n".join(map(inert, heading.lines))) for heading in content.headings],
        rows=[list(map(_text, row)) for row in content.rows],
        names=len(names),
        minor=() if wide else content.minor,
        title=inert(content.title),
    )


def _text(cell: Cell) -> Text:
    """Return a cell as text, so that rich does not read markup in names."""
    first, *others = map(inert, cell.lines)
    text = Text().append(first, style="bold" if cell.bold else "")
    for line in others:
        text.append(f"\n{line}", style=_STYLES[cell.tone])
    return text
