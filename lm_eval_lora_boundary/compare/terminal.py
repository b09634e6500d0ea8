"""A comparison as output for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from ..errors import inert
from .comparison import Cell, Comparison
from .comparison import Table as Content

_STYLES = {"better": "green", "worse": "red", "": ""}


def parts(comparison: Comparison) -> Iterator[RenderableType]:
    """Yield sentences, tables, legend and warnings."""
    yield from (Text(inert(sentence)) for sentence in comparison.sentences)
    yield from map(_Sheet, comparison.tables)
    yield from (Text(inert(line), style="dim") for line in comparison.legend)
    yield from (Text(f"warning: {inert(line)}", style="yellow") for line in comparison.warnings)


class _Sheet:
    """A table that breaks headings between words if the terminal is wide enough for it."""

    def __init__(self, content: Content) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [
            max((len(word) for line in heading.lines for word in line.split()), default=0)
            for heading in self._content.headings
        ]
        fits = sum(widths) + 3 * len(widths) + 1 <= options.max_width
        table = Table(
            title=Text(inert(self._content.title)) if self._content.title else None, show_lines=True
        )
        for heading, width in zip(self._content.headings, widths, strict=True):
            table.add_column(
                Text("\n".join(map(inert, heading.lines))),
                justify="left" if heading.left_aligned else "right",
                overflow="fold",
                min_width=width if fits else None,
            )
        for row in self._content.rows:
            table.add_row(*map(_text, row))
        yield table


def _text(cell: Cell) -> Text:
    """Return a cell as text, so that rich does not read markup in names."""
    first, *others = map(inert, cell.lines)
    text = Text().append(first, style="bold" if cell.bold else "")
    for line in others:
        text.append(f"\n{line}", style=_STYLES[cell.tone])
    return text
