"""Tables with one row per boundary, or per cut of a family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .data import CutName, Family, Row, TaskFound
from .formatting import (
    NOT_AVAILABLE,
    called,
    hundredths,
    integer,
    interval,
    metric_name,
    number,
    probability,
    signed,
    span,
)


@dataclass(frozen=True)
class Cell:
    """One cell of the table.

    Attributes:
        text: The text.
        note: A note after the text, in small print.
        sort: The number to sort by; None if the value is not available.
    """

    text: str
    note: str = ""
    sort: float | None = None


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes:
        mark: What is special about the cut: best, whole adapter, ...
        best: Whether it is the best cut.
        cells: One cell per heading.
    """

    mark: str
    best: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Heading:
    """Name of a column, and its meaning if the name does not say it."""

    text: str
    meaning: str = ""


@dataclass(frozen=True)
class Table:
    """Headings and rows."""

    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]


Column = tuple[Heading, Callable[[Row], Cell]]


def table(task: TaskFound, rows: Sequence[Row], marks: dict[CutName, str]) -> Table:
    """Return the statistics of cuts, without empty columns; ``marks`` are notes on them."""
    name = metric_name(task.metric)
    chosen_here = rows is task.rows and task.same_documents and task.not_chosen is None
    best = task.best if chosen_here else None
    columns: list[Column] = [
        (Heading(name, "95 % interval"), _value),
        (
            Heading(
                "vs. whole adapter",
                "paired difference, 95 % interval"
                + ("; that of the best cut holds for all cuts at once" if chosen_here else ""),
            ),
            lambda row: _difference(row, best),
        ),
        (
            Heading(
                "p", "two-sided p-value of this difference, corrected for all cuts here (max-T)"
            ),
            _p("p_simultaneous"),
        ),
        (
            Heading(
                "gain kept",
                "share of the whole adapter's gain over the base model, 90 % interval, so that its "
                "lower end is a bound at 95 %",
            ),
            _kept_gain,
        ),
        (
            Heading("vs. base model", "paired difference, 95 % interval for all cuts at once"),
            lambda row: _delta(row.delta_base, row.base_ci_low, row.base_ci_high),
        ),
    ]
    if len({row.documents for row in rows}) > 1:
        columns.append((Heading("documents", "how many could be scored"), _documents))
    columns += [(Heading(metric_name(key)), _metric(key)) for key in task.metric_keys[1:]]
    return _table(_BOUNDARY, columns, rows, marks, None if task.not_chosen else task.best)


def family_table(task: TaskFound, family: Family, marks: dict[CutName, str]) -> Table:
    """Return the cuts of a family, compared with the whole adapter."""
    columns: list[Column] = [
        (Heading(metric_name(task.metric)), _value),
        (
            Heading("vs. whole adapter", "paired difference, 95 % interval"),
            lambda row: _difference(row, task.best if task.same_documents else None),
        ),
        (Heading("p", "of this difference, corrected for all cuts (max-T)"), _p("p_simultaneous")),
        (Heading("gain kept", "share of the gain over the base model, 90 % interval"), _kept_gain),
    ]
    if family.kind in ("order", "list"):
        columns.append((Heading("cut", "as written for keep="), _cut))
    best = None if task.not_chosen else task.best
    return _table(_first(family), columns, family.cuts, marks, best)


def group_table(rows: Sequence[Row]) -> Table:
    """Return lm-eval's metrics of a group of tasks at every boundary."""
    keys = [key for key in dict.fromkeys(k for row in rows for k in row.metrics) if "," in key]
    columns = [(Heading(metric_name(key)), _metric(key)) for key in keys]
    return _table(_BOUNDARY, columns, rows, {}, None)


def _table(
    first: Column,
    columns: Sequence[Column],
    rows: Sequence[Row],
    marks: dict[CutName, str],
    best: CutName | None,
) -> Table:
    """Return a table of the first column and of those that have values."""
    cells = [(heading, [make(row) for row in rows]) for heading, make in columns]
    kept = [(h, column) for h, column in cells if any(cell.sort is not None for cell in column)]
    return Table(
        (first[0], *(heading for heading, _ in kept)),
        tuple(
            Line(
                marks.get(row.name, ""),
                row.name == best,
                (first[1](row), *(column[i] for _, column in kept)),
            )
            for i, row in enumerate(rows)
        ),
    )


def _first(family: Family) -> Column:
    """Return the column that the cuts of a family are told apart by."""
    if family.kind == "each":
        return Heading("layer left out"), _layer
    if family.kind == "only":
        return Heading("only layer"), _layer
    if family.kind == "scale":
        heading = Heading("strength", "of every layer (1: whole adapter, 0: base model)")
        return heading, _strength
    return Heading("layers kept", "how many layers keep their LoRA"), _kept


def _name(row: Row) -> Cell:
    if row.boundary is None:
        return Cell(called(row.name))
    return Cell(integer(row.boundary), sort=row.boundary)


def _layer(row: Row) -> Cell:
    return Cell(NOT_AVAILABLE if row.layer is None else str(row.layer), sort=row.layer)


def _kept(row: Row) -> Cell:
    kept = row.kept_layers
    return Cell(NOT_AVAILABLE if kept is None else str(kept), sort=kept)


def _strength(row: Row) -> Cell:
    strength = row.strength
    text = NOT_AVAILABLE if strength is None else f"{strength:g}".replace("-", "−")
    return Cell(text, sort=strength)


def _cut(row: Row) -> Cell:
    return Cell(row.cut or called(row.name), sort=row.kept_layers)


def _value(row: Row) -> Cell:
    return Cell(number(row.value), span(row.value_low, row.value_high), row.value)


def _delta(delta: float | None, low: float | None, high: float | None) -> Cell:
    return Cell(signed(delta), interval(low, high), delta)


def _difference(row: Row, best: CutName | None) -> Cell:
    """Return the difference from the whole adapter; a cut that was chosen has a wider interval."""
    if row.name == best and row.simultaneous_low is not None:
        return _delta(row.delta_full, row.simultaneous_low, row.simultaneous_high)
    return _delta(row.delta_full, row.ci_low, row.ci_high)


def _kept_gain(row: Row) -> Cell:
    kept, low, high = row.gain_kept, row.gain_kept_low, row.gain_kept_high
    note = "" if low is None or high is None else f"[{hundredths(low)}, {hundredths(high)}]"
    return Cell(NOT_AVAILABLE if kept is None else hundredths(kept), note, kept)


def _p(name: str) -> Callable[[Row], Cell]:
    def make(row: Row) -> Cell:
        value = getattr(row, name)
        return Cell(probability(value), sort=value)

    return make


def _documents(row: Row) -> Cell:
    return Cell(
        NOT_AVAILABLE if row.documents is None else str(int(row.documents)), "", row.documents
    )


def _metric(key: str) -> Callable[[Row], Cell]:
    def make(row: Row) -> Cell:
        value = row.metrics.get(key)
        return Cell(number(value), sort=value)

    return make


_BOUNDARY = Heading("boundary", "last layer that keeps its LoRA (−1: base model)"), _name
