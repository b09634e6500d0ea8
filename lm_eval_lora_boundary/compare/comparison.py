"""A comparison: its tables and sentences, as Markdown or HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ..errors import inert

if TYPE_CHECKING:
    from jinja2 import Template


# what GitHub would read as markup; intervals such as [+0.1, +0.2] stay readable
_MARKUP = re.compile(r"[\\`*_<>|~&$]|\[(?![-+]?\d)")


@dataclass(frozen=True)
class Cell:
    """A table cell.

    Attributes:
        lines: Its text, one or more lines.
        tooltip: More detail, shown in HTML only.
        bold: Whether the first line is bold.
        tone: ``better`` or ``worse`` if it differs significantly from the baseline, else empty.
        left_aligned: Whether it is aligned to the left, as text is.
    """

    lines: tuple[str, ...]
    tooltip: str = ""
    bold: bool = False
    tone: str = ""
    left_aligned: bool = False


@dataclass(frozen=True)
class Table:
    """A table; every row is as long as ``headings``.

    Attributes:
        title: The title.
        headings: One per column. The first columns that are aligned to the left name a row.
        rows: The rows.
        minor: Indices of the columns that a narrow terminal leaves out, the last one first.
    """

    title: str
    headings: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    minor: tuple[int, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A comparison of results or of sweeps.

    Attributes:
        title: The title.
        tables: The tables.
        sentences: The outcome in plain words.
        legend: The meaning of the signs in the tables.
        warnings: What a reader must know to judge the numbers.
        records: All numbers at full precision: one mapping per model, task and metric, or per
            sweep and task. All have the same keys.
        over_seeds: The averages over training seeds at full precision: one mapping per task and
            boundary. All have the same keys.
    """

    title: str
    tables: tuple[Table, ...]
    sentences: tuple[str, ...]
    legend: tuple[str, ...]
    warnings: tuple[str, ...]
    records: tuple[dict[str, Any], ...]
    over_seeds: tuple[dict[str, Any], ...] = ()

    def to_markdown(self) -> str:
        """Return the comparison as GitHub-flavoured Markdown."""
        blocks = [_escaped(sentence) for sentence in self.sentences]
        for table in self.tables:
            blocks += [f"**{_escaped(table.title)}**"] if table.title else []
            blocks.append(_markdown_table(table))
        blocks.append(_markdown_list(self.legend))
        if self.warnings:
            blocks += ["Warnings:", _markdown_list(self.warnings)]
        return "\n\n".join(block for block in blocks if block) + "\n"

    def to_html(self) -> str:
        """Return the comparison as one self-contained HTML page."""
        text = _page().render(comparison=self) + "\n"
        # names may hold halves of characters, which UTF-8 cannot encode
        return text.encode("utf-8", "replace").decode("utf-8")


def text_cell(*lines: str, tooltip: str = "") -> Cell:
    """Return a left-aligned cell."""
    return Cell(lines, tooltip, left_aligned=True)


def _markdown_list(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {_escaped(line)}" for line in lines)


def _markdown_table(table: Table) -> str:
    rows = [table.headings, *table.rows]
    lines = [f"| {' | '.join(_markdown_cell(cell) for cell in row)} |" for row in rows]
    rules = (" :-- " if cell.left_aligned else " --: " for cell in table.headings)
    lines.insert(1, f"|{'|'.join(rules)}|")
    return "\n".join(lines)


def _markdown_cell(cell: Cell) -> str:
    first, *others = (_escaped(line) for line in map(_no_formula, cell.lines))
    return "<br>".join([f"**{first}**" if cell.bold else first, *others])


def _no_formula(line: str) -> str:
    """Return text that a spreadsheet, which opens both formats, does not compute."""
    return f"'{line}" if re.match(r"[=@]|[-+](?![\d.])", line) else line


def _escaped(line: str) -> str:
    """Return text that Markdown shows unchanged."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(inert(line).split()))


@cache
def _page() -> Template:
    """Return the template of the HTML page, which escapes all that is put into it."""
    # imported here: the terminal output does not need jinja2
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lm_eval_lora_boundary.compare", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["no_formula"] = _no_formula
    return environment.get_template("page.html.j2")
