"""Tables with one row per boundary, or per cut of a family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import cells
from .cells import Cell, Maker
from .data import BASE, CutName, Family, Row, TaskFound
from .formatting import metric_name
from .size import share_kept
from .verdicts import BETTER, CONFIRMED, KEEPS, MEANING, NOT_CONFIRMED, NOT_SHOWN, WORSE, verdicts

_ORDER = (WORSE, NOT_SHOWN, NOT_CONFIRMED, KEEPS, BETTER)


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes:
        mark: What is special about the cut: recommended, whole adapter, ...
        chosen: Whether it is the recommended cut.
        cells: One cell per heading.
    """

    mark: str
    chosen: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Heading:
    """Name of a column, and its meaning if the name does not say it.

    Attributes:
        more: Whether the column is shown only when all are asked for.
        kind: What the column holds, if the page treats it in its own way.
    """

    text: str
    meaning: str = ""
    more: bool = False
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """Headings and rows."""

    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]

    @property
    def has_more(self) -> bool:
        """Whether some columns are shown only when all are asked for."""
        return any(heading.more for heading in self.headings)


Column = tuple[Heading, Maker]


def marks(task: TaskFound, full: int | None) -> dict[CutName, str]:
    """Return what to write next to cuts."""
    found: dict[CutName, list[str]] = {}
    chosen = task.not_chosen is None
    for name, mark in (
        (BASE, "base"),
        (full, "whole"),
        (task.choice if chosen else None, "recommended"),
        (task.best if chosen and task.best != task.choice else None, "best score"),
    ):
        if name is not None:
            found.setdefault(name, []).append(mark)
    return {name: ", ".join(parts) for name, parts in found.items()}


def table(
    task: TaskFound, rows: Sequence[Row], marks: dict[CutName, str], full: int | None
) -> Table:
    """Return the statistics of cuts, without empty columns; ``marks`` are notes on them."""
    chosen_here = rows is task.rows and task.same_documents and task.not_chosen is None
    columns = [
        *_compared(task, rows, full, task.best if chosen_here else None),
        (
            Heading("vs. base", "paired difference, 95 % interval for all cuts at once", more=True),
            cells.from_base(task.limits),
        ),
    ]
    if len({row.documents for row in rows}) > 1:
        columns.append((Heading("documents", "how many could be scored"), cells.documents))
    columns += [
        (Heading(metric_name(key), more=True), cells.metric(key)) for key in task.metric_keys[1:]
    ]
    return _table(_LAYERS, columns, rows, marks, _chosen(task))


def family_table(
    task: TaskFound, family: Family, marks: dict[CutName, str], full: int | None
) -> Table:
    """Return the cuts of a family, compared with the whole adapter."""
    columns = _compared(task, family.cuts, full, task.best if task.same_documents else None)
    if family.kind in ("order", "list"):
        heading = Heading("cut", "as written for keep=", more=True)
        columns.append((heading, cells.notation))
    return _table(_first(family), columns, family.cuts, marks, _chosen(task))


def group_table(rows: Sequence[Row]) -> Table:
    """Return lm-eval's metrics of a group of tasks at every boundary."""
    keys = [key for key in dict.fromkeys(k for row in rows for k in row.metrics) if "," in key]
    columns = [(Heading(metric_name(key)), cells.metric(key)) for key in keys]
    return _table(_LAYERS, columns, rows, {}, None)


def _compared(
    task: TaskFound, rows: Sequence[Row], full: int | None, best: CutName | None
) -> list[Column]:
    """Return the columns that compare cuts with the whole adapter.

    Args:
        task: The task.
        rows: The cuts.
        full: The boundary that keeps the whole adapter, if known.
        best: The best cut, if it was chosen on these documents.
    """
    whole, found = task.row(full), verdicts(task, rows, full)
    known = any(share_kept(row, whole) is not None for row in rows)
    of_best = "; that of the best cut holds for all cuts at once" if best is not None else ""
    confirmed = CONFIRMED if NOT_CONFIRMED in found.values() else ""
    return [
        (
            Heading(metric_name(task.metric), "95 % interval", kind="value"),
            cells.value(task.limits),
        ),
        (
            Heading("vs. whole", f"paired difference, 95 % interval{of_best}", kind="difference"),
            cells.difference(task.limits, best, full),
        ),
        (Heading("verdict", f"{MEANING}{confirmed}", kind="verdict"), cells.verdict(found, _ORDER)),
        (
            Heading("size", f"share of the {'parameters' if known else 'layers'} that are kept"),
            cells.size(whole, full, known=known),
        ),
        (Heading("parameters", "of the adapter", more=True), cells.parameters_of),
        (
            Heading("p", "of the difference, two-sided, corrected for all cuts (max-T)", more=True),
            cells.p_simultaneous,
        ),
        (
            Heading(
                "gain kept",
                "share of the whole adapter's gain over the base model, 90 % interval, so that its "
                "lower end is a bound at 95 %",
                more=True,
            ),
            cells.gain_kept,
        ),
    ]


def _chosen(task: TaskFound) -> CutName | None:
    return None if task.not_chosen else task.choice


def _table(
    first: Column,
    columns: Sequence[Column],
    rows: Sequence[Row],
    marks: dict[CutName, str],
    chosen: CutName | None,
) -> Table:
    """Return a table of the first column and of those that have values."""
    made = [(heading, [make(row) for row in rows]) for heading, make in columns]
    kept = [(h, column) for h, column in made if any(cell.sort is not None for cell in column)]
    return Table(
        (first[0], *(heading for heading, _ in kept)),
        tuple(
            Line(
                marks.get(row.name, ""),
                row.name == chosen,
                (first[1](row), *(column[i] for _, column in kept)),
            )
            for i, row in enumerate(rows)
        ),
    )


def _first(family: Family) -> Column:
    """Return the column that the cuts of a family are told apart by."""
    if family.kind == "each":
        return Heading("layer left out"), cells.layer
    if family.kind == "only":
        return Heading("only layer"), cells.layer
    if family.kind == "scale":
        heading = Heading("strength", "of every layer (1: whole adapter, 0: base model)")
        return heading, cells.strength
    return Heading("layers kept", "how many layers keep their LoRA"), cells.kept


_LAYERS = Heading("layers", "those that keep their LoRA"), cells.layers_of
