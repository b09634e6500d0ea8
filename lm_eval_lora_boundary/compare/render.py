"""A comparison as Markdown, HTML and CSV."""

from __future__ import annotations

import io
import re
from csv import DictWriter
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from .comparison import Cell, Comparison, Grid

# what GitHub would read as markup; intervals such as [+0.1, +0.2] stay readable
_MARKUP = re.compile(r"[\\`*_<>|~&$]|\[(?![-+]?\d)")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of one
_NUMBERS = re.compile(r"[-\d ]+")  # lists of boundaries


def markdown(comparison: Comparison) -> str:
    """Return tables and notes as GitHub-flavoured Markdown."""
    blocks = [_escaped(sentence) for sentence in comparison.sentences]
    for grid in comparison.grids:
        blocks += [f"**{_escaped(grid.title)}**"] if grid.title else []
        blocks.append(_markdown_table(grid))
    blocks += ["\n".join(f"- {_escaped(line)}" for line in comparison.legend)]
    if comparison.warnings:
        blocks.append("Take care:")
        blocks.append("\n".join(f"- {_escaped(line)}" for line in comparison.warnings))
    return "\n\n".join(block for block in blocks if block) + "\n"


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


def html(comparison: Comparison) -> str:
    """Return one self-contained HTML page."""
    return _page().render(comparison=comparison) + "\n"


@cache
def _page() -> Template:
    """Return the template of the page, which escapes all that is put into it."""
    environment = Environment(
        loader=PackageLoader("lm_eval_lora_boundary.compare", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _inert(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula; numbers stay numbers."""
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _NUMBERS.fullmatch(value):
        return value
    return f"'{value}"


def csv(comparison: Comparison) -> str:
    """Return the records as CSV with a header line."""
    text = io.StringIO()
    if comparison.records:
        writer = DictWriter(text, comparison.records[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: _inert(v) for k, v in row.items()} for row in comparison.records)
    return text.getvalue()
