"""A comparison: its tables and sentences, as Markdown or HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template


# what GitHub would read as markup; intervals such as [+0.1, +0.2] stay readable
_MARKUP = re.compile(r"[\\`*_<>|~&$]|\[(?![-+]?\d)")


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
        blocks = [_escaped(sentence) for sentence in self.sentences]
        for grid in self.grids:
            blocks += [f"**{_escaped(grid.title)}**"] if grid.title else []
            blocks.append(_markdown_table(grid))
        blocks += ["\n".join(f"- {_escaped(line)}" for line in self.legend)]
        if self.warnings:
            blocks.append("Take care:")
            blocks.append("\n".join(f"- {_escaped(line)}" for line in self.warnings))
        return "\n\n".join(block for block in blocks if block) + "\n"

    def to_html(self) -> str:
        """Return one self-contained HTML page."""
        return _page().render(comparison=self) + "\n"


def text(*lines: str, hover: str = "", strong: bool = False) -> Cell:
    """Return a cell of text."""
    return Cell(lines, hover, strong, text=True)


def unique(lines: list[str]) -> tuple[str, ...]:
    """Return lines in their order, each once."""
    return tuple(dict.fromkeys(lines))


def _markdown_table(grid: Grid) -> str:
    """Return a table in pipes."""
    rows = [grid.headings, *grid.rows]
    lines = [f"| {' | '.join(_markdown_cell(cell) for cell in row)} |" for row in rows]
    lines.insert(1, f"|{'|'.join(' :-- ' if cell.text else ' --: ' for cell in grid.headings)}|")
    return "\n".join(lines)


def _markdown_cell(cell: Cell) -> str:
    """Return a cell in one line of Markdown; its first line is what stands out."""
    lines = [_escaped(line) for line in cell.lines]
    if cell.strong:
        lines[0] = f"**{lines[0]}**"
    return "<br>".join(lines)


def _escaped(line: str) -> str:
    """Return text that Markdown shows as it is."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(line.split()))


@cache
def _page() -> Template:
    """Return the template of the page, which escapes all that is put into it."""
    # imported here: a table in a terminal needs no jinja2
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lm_eval_lora_boundary.compare", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
