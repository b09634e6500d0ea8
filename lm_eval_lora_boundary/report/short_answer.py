"""The result of a sweep in a few lines for the terminal: verdict, rows that matter, what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import inert
from ..files import SWEEP, read_object
from .checked import AGAIN
from .data import BASE, CutName, Row, SweepFound, TaskFound
from .examples import Example, read_examples
from .formatting import (
    NOT_AVAILABLE,
    clipped,
    count,
    interval,
    metric_name,
    named,
    number,
    percent,
    signed,
    spread,
    what_is_kept,
)
from .headline import headline
from .next_steps import next_steps
from .read import read_sweep
from .rows_that_matter import rows_that_matter
from .size import share_kept
from .verdicts import BETTER, KEEPS, WORSE, verdicts

WIDTH = 80
_MOST_LINES, _MOST_NARROW_LINES = 25, 32  # with what a cut saves, which is left out beyond
_BAR = 10
_NOTATION = 16  # longer ones are described
_WITH_BAR = 72  # columns from which there is room for bars
_INDENT = "  "
# in a word; there is none where nothing is shown
_VERDICTS = {BETTER: BETTER, WORSE: WORSE, KEEPS: "keeps it"}


@dataclass(frozen=True)
class Line:
    """A line, and whether it is one of the important ones."""

    text: str
    bold: bool = False


def short_answer(folder: Path, *, width: int = WIDTH, all_rows: bool = False) -> Iterator[Line]:
    """Yield the lines about all tasks of a finished sweep.

    Args:
        folder: The sweep's folder.
        width: Columns of the terminal.
        all_rows: Show every boundary that was scored.

    Raises:
        OutputError: The folder has no finished sweep, or a file is damaged.
    """
    found, full = read_sweep(folder), whole_adapter(folder)
    for number_of, task in enumerate(found.tasks):
        if number_of:
            yield Line("")
        examples: Sequence[Example] = ()
        if task.not_chosen is not None and found.has_texts:
            examples = read_examples(folder, task.name, task.metric, task.best)
        lines = [*_task(task, full, examples, width, all_rows)]
        after = [Line(""), *_next(found, task, full, width)]
        if task.choice not in (BASE, full) and task.not_chosen is None:
            most = _MOST_LINES if width >= WIDTH else _MOST_NARROW_LINES
            # the first of what it buys is its size, which the table has
            saved = (*task.buys[1:], *found.speed.get(task.choice, ()))
            lines += _that_fit(saved, width, most - len(lines) - len(after))
        yield from (Line(inert(line.text), line.bold) for line in (*lines, *after))


def whole_adapter(folder: Path) -> int | None:
    """Return the boundary of a finished sweep that keeps the whole adapter; None if not known."""
    layers = read_object(folder / SWEEP, AGAIN).get("layers")
    return layers - 1 if isinstance(layers, int) else None


def _that_fit(sentences: Sequence[str], width: int, room: int) -> list[Line]:
    """Return the sentences for which there is room, in lines; the report has all of them."""
    lines: list[Line] = []
    for sentence in sentences:
        more = [Line(text) for text in _wrapped(sentence, width)]
        if len(lines) + len(more) <= room:
            lines += more
    return lines


def _task(
    task: TaskFound,
    full: int | None,
    examples: Sequence[Example],
    width: int,
    all_rows: bool,
) -> Iterator[Line]:
    yield from (Line(text) for text in _wrapped(_title(task, full), width, ""))
    yield Line("")
    yield from (Line(text, bold=True) for text in _wrapped(headline(task, full), width))
    for sentence in _short_of(task):
        yield from map(Line, _wrapped(sentence, width))
    for example in examples:
        for kind, text in (("gold answer", example.gold), ("response", example.response)):
            room = width - len(kind) - 6
            yield Line(f"{_INDENT}{kind:>11}: {textwrap.shorten(text, room, placeholder=' [...]')}")
    yield Line("")
    yield from _table(task, full, width, all_rows)
    yield from _test(task, full, width)


def _title(task: TaskFound, full: int | None) -> str:
    layers = "" if full is None else f"{full + 1} layers, "
    documents = count(task.documents, task.split)
    if task.test is not None:
        more = count(task.test.documents, task.test.split)
        documents = f"{documents.removesuffix(' documents')} and {more}"
    return f"{task.name}: {metric_name(task.metric)}, {layers}{documents}"


def _short_of(task: TaskFound) -> Iterator[str]:
    """Yield the answer to the question that decides most, and that about the log-likelihood."""
    helps, better, keeps = (
        task.answer(key) for key in ("adapter_helps", "better_cut", "keeps_gain")
    )
    if helps is not None and not helps.shown:
        yield helps.sentence
    elif better is not None and better.shown:
        yield better.sentence
    elif keeps is not None:
        yield keeps.sentence
    likelihood = task.answer("loses_likelihood")
    if likelihood is not None:
        yield f"{likelihood.question} {likelihood.sentence}"


def _table(task: TaskFound, full: int | None, width: int, all_rows: bool) -> Iterator[Line]:
    """Yield the heading and the rows, as wide as there is room."""
    shown_for = verdicts(task, task.rows, full)
    rows = task.rows if all_rows else rows_that_matter(task, shown_for, full)
    # the best cut of each other family, which has a row of its own
    others = [
        (family.name, best)
        for family in task.families
        if (best := family.best(task.higher_is_better)) is not None
    ]
    limits = task.limits
    labels = {id(row): _label(row.name, full) for row in rows}
    labels |= {id(row): f"{name}: {_label(row.name, full)}" for name, row in others}
    wide = max(len("LoRA in layers"), *map(len, labels.values()))
    bars = limits is not None and width >= _WITH_BAR + max(0, wide - len("none (base)"))
    heading = f"{'LoRA in layers':<{wide}}  size   score  "
    if bars and limits is not None:
        ends = f"{limits[0]:g}{f'{limits[1]:g}':>{_BAR - 1}}"
        heading += f"{ends}  "
    yield Line(f"{_INDENT}{heading}vs whole adapter, 95 %")
    every = [*rows, *(row for _, row in others)]
    for row in every:
        verdict = _VERDICTS.get(shown_for.get(row.name, ""), "") if row in rows else ""
        texts = [f"{labels[id(row)]:<{wide}}", f"{_size(task, row, full):>5}", _score(row)]
        if bars and limits is not None:
            texts.append(_bar(row.value, limits))
        texts.append(_difference(task, row, full))
        text = f"{_INDENT}{'  '.join(texts)}  {verdict}".rstrip()
        if len(text) > width:  # what does not fit is left out, and not cut off
            text = text.removesuffix(verdict).rstrip()
        yield Line(text, bold=row.name == task.choice)
    left = len(task.rows) - len(rows)
    if left > 0:
        yield Line(f"{_INDENT}{left} more: --all-rows, or report.html")


def _label(name: CutName, full: int | None) -> str:
    if name == BASE:
        return "none (base)"
    if name == full:
        return f"0–{full} (whole)"
    text = name if isinstance(name, str) and len(name) <= _NOTATION else what_is_kept(name)
    return text.removeprefix("layers ").removeprefix("layer ")


def _size(task: TaskFound, row: Row, full: int | None) -> str:
    share = share_kept(row, task.row(full))
    if share is None and full is not None and row.kept_layers is not None:
        share = row.kept_layers / (full + 1)
    return percent(share).replace("\u00a0", "")


def _score(row: Row) -> str:
    return f"{number(row.value):>6}"


def _bar(value: float | None, limits: tuple[float, float]) -> str:
    share = 0.0 if value is None else (value - limits[0]) / (limits[1] - limits[0])
    full = round(_BAR * min(max(share, 0.0), 1.0))
    return "█" * full + "·" * (_BAR - full)


def _difference(task: TaskFound, row: Row, full: int | None) -> str:
    if row.name == full:
        return NOT_AVAILABLE
    low, high = row.ci_low, row.ci_high
    if row.name == task.best and row.simultaneous_low is not None and task.same_documents:
        low, high = row.simultaneous_low, row.simultaneous_high
    ends = interval(*clipped(low, high, spread(task.limits)))
    return f"{signed(row.delta_full):>6} {ends}".rstrip()


def _test(task: TaskFound, full: int | None, width: int) -> Iterator[Line]:
    """Yield what the split says that nothing was chosen on."""
    if task.test is None or task.not_chosen is not None:
        return
    rows = {row.name: row for row in task.test.rows}
    wanted = dict.fromkeys([BASE, task.best if task.choice == full else task.choice, full])
    scores = [
        f"{named(name, full) if name in (BASE, full) else what_is_kept(name)} "
        f"{number(rows[name].value)}"
        for name in wanted
        if name is not None and name in rows
    ]
    yield from map(Line, _wrapped(f"Test split: {', '.join(scores)}.", width))


def _next(found: SweepFound, task: TaskFound, full: int | None, width: int) -> Iterator[Line]:
    """Yield what to do, and the commands for it as they are typed."""
    for step in next_steps(found, task, full):
        yield from map(Line, _wrapped(f"Next: {step.text}", width, ""))
        yield from map(Line, _in_lines(step.command or (), width))


def _in_lines(parts: Sequence[str], width: int) -> list[str]:
    """Return the parts of a command in lines that a shell reads as one."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(f"{_INDENT * (2 if lines else 1)}{part}")
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _wrapped(text: str, width: int, indent: str = _INDENT) -> list[str]:
    # a name or a path longer than a line stays whole
    return textwrap.wrap(
        text.replace("\u00a0", " "),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
