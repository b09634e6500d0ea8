"""Markdown, HTML and terminal show the same text, whatever a name contains."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from compare_helpers import answers, write
from markdown_it import MarkdownIt
from markupsafe import escape
from rich.console import Console

from lm_eval_lora_boundary.compare import Comparison, compare
from lm_eval_lora_boundary.compare.terminal import parts

TRICKY = 'a|b_c_ *d* <script>x <b>y "q" &amp; `x` [l](u) ~~s~~ $m$ [red]r[bold]'


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    for name, rate in ((TRICKY, 0.3), ("plain", 0.8)):
        write(
            tmp_path / name[:5].replace("|", "-"),
            {
                f"task_{name[:3]}": {"acc,none": answers(30, 1, rate)},
                "task": {"f,none": [rate] * 9},
            },
            args={"model": name},
        )
    return compare([tmp_path], baseline=tmp_path / "plain")


class Page(HTMLParser):
    """Collects tags, attributes and the text of table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data.strip("\n")


def texts(comparison: Comparison) -> list[str]:
    return [
        "".join(cell.lines)
        for table in comparison.tables
        for row in (table.headings, *table.rows)
        for cell in row
    ]


def test_names_are_not_markup_in_html(comparison: Comparison) -> None:
    page = Page()
    page.feed(comparison.to_html().partition("</table>")[0])
    assert page.cells == texts(comparison)
    assert "script" not in page.tags
    loaded = [value for name, value in page.attributes if name in ("src", "href")]
    assert not loaded  # the page is self-contained
    titles = [value for name, value in page.attributes if name == "title" and value]
    assert any(f"model={TRICKY}" in title for title in titles)


def test_names_are_not_markup_in_markdown(comparison: Comparison) -> None:
    tokens = (
        MarkdownIt("commonmark", {"html": True}).enable("table").parse(comparison.to_markdown())
    )
    cells = [
        token.children or []
        for i, token in enumerate(tokens)
        if token.type == "inline" and tokens[i - 1].type in ("td_open", "th_open")
    ]
    actual = ["".join(part.content for part in cell if part.type == "text") for cell in cells]
    assert actual == texts(comparison)
    kinds = {part.type for cell in cells for part in cell}
    assert kinds <= {"text", "html_inline", "strong_open", "strong_close"}
    markup = {part.content for cell in cells for part in cell if part.type == "html_inline"}
    assert markup == {"<br>"}


def test_names_are_not_markup_in_the_terminal(comparison: Comparison) -> None:
    console = Console(record=True, width=400, file=io.StringIO())
    for part in parts(comparison):
        console.print(part)
    shown = console.export_text()
    for table in comparison.tables:
        for cell in (cell for row in (table.headings, *table.rows) for cell in row):
            assert all(line in shown for line in cell.lines)
    assert TRICKY in shown


def printed(comparison: Comparison, width: int, *, wide: bool = False) -> list[str]:
    """Return the lines that a terminal of some width shows, without spaces at their ends."""
    console = Console(record=True, width=width, file=io.StringIO())
    for part in parts(comparison, wide=wide):
        console.print(part)
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_nothing_is_cut_off_in_a_narrow_terminal(width: int, tmp_path: Path) -> None:
    for seed, rate in enumerate((0.3, 0.8, 0.5)):
        tasks = {
            f"lora_boundary_{name}": {"exact_match,strict-match": answers(30, seed, rate)}
            for name in ("gsm8k", "hotpotqa", "wmt23_en-de")
        }
        args = {"pretrained": "org/A-Small-Model-Instruct", "peft": f"runs/samsum-lora-r{seed}"}
        write(tmp_path / f"{seed}", tasks, args=args, cut={"boundary": 20, "num_layers": 30})
    comparison = compare([tmp_path], baseline=tmp_path / "1")
    lines = printed(comparison, width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    (table,) = comparison.tables
    for row in (table.headings, *table.rows):
        for i, cell in enumerate(row):
            if i not in table.minor:
                assert all(any(text in line for line in lines) for text in cell.lines)
    # every table names its rows
    tables = sum("────" in line for line in lines)
    names = [row[0].lines[0] for row in table.rows]
    assert [sum(line.startswith(name) for line in lines) for name in names] == [tables] * 3
    assert (tables > 1) == (width < 120)


def test_columns_that_are_left_out_are_in_the_wide_table(tmp_path: Path) -> None:
    args = {"pretrained": "org/base", "peft": "org/lora"}
    cut = {"boundary": 20, "num_layers": 30, "kept_parameters": 420000}
    tasks = {f"a_rather_long_name_{i}": {"acc,none": answers(30, i, 0.5)} for i in range(2)}
    write(tmp_path, tasks, args=args, cut=cut)
    comparison = compare([tmp_path])
    assert any("420,000" in line for line in printed(comparison, 120))
    narrow = printed(comparison, 70)
    assert not any("420,000" in line for line in narrow)
    assert "more columns: --wide" in narrow
    wide = printed(comparison, 70, wide=True)
    assert "more columns: --wide" not in wide
    assert max(map(len, wide)) <= 70
    (row,) = comparison.tables[0].rows
    assert all(any(text in line for line in wide) for cell in row for text in cell.lines)


def test_a_name_longer_than_the_terminal_is_folded(tmp_path: Path) -> None:
    name = "x" * 150
    write(tmp_path, {"task": {"acc,none": answers(30, 1, 0.5)}}, args={"model": name})
    lines = printed(compare([tmp_path]), 60)
    assert max(map(len, lines)) <= 60
    assert "".join(lines).count("x") >= 150


def test_the_page_has_legend_warnings_and_styles(comparison: Comparison) -> None:
    page = comparison.to_html()
    for line in (*comparison.legend, *comparison.warnings):
        assert f"<li>{escape(line)}</li>" in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
