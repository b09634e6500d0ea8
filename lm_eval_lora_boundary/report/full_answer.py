"""The result of a sweep for the terminal with all that the page's tables say."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from ..errors import inert
from ..text_table import TextTable
from .data import SweepFound, TaskFound
from .headline import headline
from .layer_tables import layer_map_table, overlap_table
from .sentences import caveats, control_sentences, family_summary, what_was_scored
from .table import Table, family_table, group_table, marks, table

_INDENT = (0, 0, 0, 2)


def full_answer(found: SweepFound, full: int | None) -> Iterator[RenderableType]:
    """Yield sentences and tables: every task, how far tasks need the same layers, and groups.

    Args:
        found: The sweep.
        full: The boundary that keeps the whole adapter, if known.
    """
    for number, task in enumerate(found.tasks):
        if number:
            yield Text()
        yield from _task(found, task, full)
    overlap = overlap_table(found.tasks)
    if overlap is not None:
        yield from _section("Whether tasks need the same layers", overlap)
    for name, rows in found.groups.items():
        yield from _section(f"Group {name}", group_table(rows))


def _task(found: SweepFound, task: TaskFound, full: int | None) -> Iterator[RenderableType]:
    yield _text(f"{task.name}: {headline(task, full)}", "bold")
    for answer in task.answers:
        yield Text()
        yield _text(answer.question, "bold" if answer.shown else "")
        yield Padding(_text(answer.sentence), _INDENT, expand=False)
    further = (*control_sentences(task.controls), *caveats(task, full, found.race))
    if further:
        yield Text()
        yield from map(_text, further)
    marked = marks(task, full)
    yield from _section(f"{what_was_scored(task)}.", table(task, task.rows, marked, full))
    if task.test is not None:
        shown = table(task, task.test.rows, marked, full)
        yield from _section(f"On the {task.test.split} split:", shown, explained=False)
    for family in task.families:
        title = f"Family {family.name}: {family_summary(task, family, full)}."
        shown = family_table(task, family, marked, full)
        yield from _section(title, shown, explained=False)
    layers = layer_map_table(task)
    if layers is not None:
        yield from _section("What each layer's LoRA is worth:", layers)


def _section(title: str, content: Table, *, explained: bool = True) -> Iterator[RenderableType]:
    """Yield a table and, if it is to be ``explained``, what its columns mean."""
    marked = any(line.mark for line in content.lines)
    headings = [Text(inert(heading.text)) for heading in content.headings]
    rows = [[_text(f"{cell.text} {cell.note}") for cell in line.cells] for line in content.lines]
    if marked:
        headings.insert(1, Text())
        for row, line in zip(rows, content.lines, strict=True):
            row.insert(1, _text(line.mark))
    for row, line in zip(rows, content.lines, strict=True):
        if line.chosen:
            for text in row:
                text.stylize("bold")
    yield Text()
    yield _text(title)
    yield Text()
    yield TextTable(headings, rows, names=1 + marked)
    if explained and any(heading.meaning for heading in content.headings):
        yield Text()
        for heading in content.headings:
            if heading.meaning:
                yield _text(f"{heading.text}: {heading.meaning}", "dim")


def _text(text: str, style: str = "") -> Text:
    """Return text as a terminal only shows it; rich does not read markup in it."""
    return Text(inert(text.strip()), style)
