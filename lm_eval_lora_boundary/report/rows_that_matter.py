"""Which boundaries to show where there is no room for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from .data import BASE, CutName, Row, TaskFound
from .verdicts import WORSE

MOST = 9


def rows_that_matter(
    task: TaskFound, verdicts: Mapping[CutName, str], full: int | None, most: int = MOST
) -> list[Row]:
    """Return the base model, the whole adapter, the choice, and where runs begin or end.

    A run is of boundaries that are all significantly worse than the whole adapter, or that have
    the same value. If there are too many, the rows next to others that are shown are left out
    first.

    Args:
        task: The task.
        verdicts: What the tests show, by boundary.
        full: The boundary that keeps the whole adapter, if known.
        most: The most rows.
    """
    rows = list(task.rows)
    needed = {BASE, task.choice, task.best, full}
    chosen = [row for row in rows if row.name in needed]
    ends: list[Row] = []
    for _, run in groupby(rows, key=lambda row: _kind(row, verdicts)):
        members = list(run)
        ends += [members[-1], members[0]]  # where a run ends says more
    for row in ends:
        if len(chosen) < most and row not in chosen:
            chosen.append(row)
    chosen += _between(rows, chosen, most - len(chosen))
    return [row for row in rows if row in chosen]


def _kind(row: Row, verdicts: Mapping[CutName, str]) -> object:
    return WORSE if verdicts.get(row.name) == WORSE else row.value


def _between(rows: Sequence[Row], chosen: Sequence[Row], room: int) -> list[Row]:
    """Return rows that lie furthest from those that are shown."""
    places = [place for place, row in enumerate(rows) if row in chosen]
    more: list[int] = []
    while len(more) < room and len(places) + len(more) < len(rows):
        taken = sorted({*places, *more})
        more.append(
            max(
                (place for place in range(len(rows)) if place not in taken),
                key=lambda place: min(abs(place - other) for other in taken),
            )
        )
    return [rows[place] for place in more]
