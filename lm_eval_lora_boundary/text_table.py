"""A table for the terminal that stays readable in a narrow one.

No number is broken and nothing is cut off. A table that is too wide leaves out its minor columns,
and if that is not enough, it becomes several tables below one another. The columns that name a row
are in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_GAP = 2  # between columns


@dataclass(frozen=True)
class TextTable:
    """A table that rich prints.

    Attributes:
        headings: One per column.
        rows: The rows; each is as long as ``headings``.
        names: How many columns, from the left, name a row. They are aligned to the left, and may
            break if a name is long.
        minor: Indices of the columns that a narrow terminal leaves out, the last one first.
        title: The title.
    """

    headings: Sequence[Text]
    rows: Sequence[Sequence[Text]]
    names: int = 1
    minor: Sequence[int] = ()
    title: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the title and the tables."""
        room = options.max_width
        if self.title:
            yield Text(self.title, style="italic")
        shown = list(range(len(self.headings)))
        for column in reversed(self.minor):
            if self._width(shown) > room:
                shown.remove(column)
        for number, columns in enumerate(self._divided(shown, room)):
            if number:
                yield Text()
            yield self._table(columns, room)
        if len(shown) < len(self.headings):
            yield Text("more columns: --wide", style="dim")

    def _width(self, columns: Sequence[int]) -> int:
        return sum(map(self._width_of, columns)) + _GAP * (len(columns) - 1)

    def _width_of(self, column: int) -> int:
        texts = (self.headings[column], *(row[column] for row in self.rows))
        return max(line.cell_len for text in texts for line in text.split(allow_blank=True))

    def _divided(self, columns: Sequence[int], room: int) -> Iterator[list[int]]:
        """Divide columns into as few tables as fit."""
        table = list(columns[: self.names])
        for column in columns[self.names :]:
            if len(table) > self.names and self._width([*table, column]) > room:
                yield table
                table = list(columns[: self.names])
            table.append(column)
        yield table

    def _table(self, columns: Sequence[int], room: int) -> Table:
        rows = [[row[column] for column in columns] for row in self.rows]
        tall = any("\n" in text.plain for row in rows for text in row)
        table = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, _GAP - 1, 0, 0),
            leading=int(tall),  # a blank line between rows of several lines
            width=min(room, self._width(columns)),
        )
        for column in columns:
            is_name = column < self.names
            table.add_column(
                self.headings[column],
                justify="left" if is_name else "right",
                overflow="fold",
                min_width=None if is_name else self._width_of(column),
            )
        for row in rows:
            table.add_row(*row)
        return table
