"""What a sweep found: ``sweep.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..harness.tasks import LoadedTasks
from ..stats.race import Race
from ..stats.selection import STATISTICS, Row, Scores, describe, select
from .scores import Measured, Metric, Scored, scores

SAME, OTHER = "same documents", "other documents"


def summarise_tasks(
    tasks: LoadedTasks, scored: Scored, full: int, race: Race | None
) -> dict[str, dict[str, Any]]:
    """Return what ``sweep.json`` says about every task.

    Args:
        tasks: The tasks.
        scored: What they scored.
        full: The boundary that keeps the whole adapter.
        race: The race that dropped some boundaries, if there was one.

    Raises:
        TaskError: A task has a finite value at no boundary.
    """
    found = {
        name: summarise(
            scored.metrics[name],
            measured,
            scores(tasks.tasks[name], scored.metrics[name], measured),
            full,
            tasks.splits[name],
        )
        for name, measured in scored.measured.items()
    }
    if race and race.dropped:  # they have no draws that the choice could be corrected by
        found = {name: entry | {"optimism": None} for name, entry in found.items()}
    return found


def summarise(
    metric: Metric, measured: Sequence[Measured], values: Scores, full: int, split: str
) -> dict[str, Any]:
    """Return what ``sweep.json`` says about a task.

    Args:
        metric: The metric.
        measured: The values at each boundary.
        values: The same, as something to resample.
        full: The boundary that keeps the whole adapter.
        split: The split that was evaluated.

    Raises:
        TaskError: No boundary has a finite value.
    """
    found = select(values, full)
    summary = {
        "metric": metric.key,
        "higher_is_better": metric.higher_is_better,
        "split": split,
        "documents": _documents(measured),
        "boundaries": _rows(measured, found.rows, full),
        "best": found.best,
        "smallest_equivalent": found.smallest_equivalent,
        "collapse": found.collapse,
        "optimism": found.optimism,
        "selection": SAME,
        "test": None,
        "not_chosen": None,
    }
    if why := _on_other_documents(measured, split):
        nothing = dict.fromkeys(("smallest_equivalent", "collapse", "optimism"))
        return summary | nothing | {"best": full, "not_chosen": why}
    return summary | {"not_chosen": _no_difference(measured)}


def confirmed(
    summary: dict[str, Any], measured: Sequence[Measured], values: Scores, full: int
) -> dict[str, Any]:
    """Return the summary of a task with what its choice scored on documents it was not chosen by.

    Args:
        summary: What :func:`summarise` returned.
        measured: The values on the test split at the best boundary and a few others.
        values: The same, as something to resample.
        full: The boundary that keeps the whole adapter.
    """
    test = {
        "split": "test",
        "documents": _documents(measured),
        "boundaries": _rows(measured, describe(values, full), full),
    }
    why = summary["not_chosen"] or _on_other_documents(measured, "test")
    return summary | {"selection": OTHER, "test": test, "not_chosen": why}


def _documents(measured: Sequence[Measured]) -> int:
    """Return how many documents were scored, at one boundary at least."""
    return len(set().union(*(each.items for each in measured)))


def _on_other_documents(measured: Sequence[Measured], split: str) -> str | None:
    """Return why boundaries cannot be compared; None if all were scored on the same documents."""
    if len({frozenset(each.items) for each in measured}) == 1:
        return None
    numbers = [len(each.items) for each in measured]
    low, high = min(numbers), max(numbers)
    return (
        f"the boundaries were scored on different {split} documents "
        f"({low if low == high else f'{low} to {high}'} each), because the task leaves out "
        "answers that it cannot score, so their values cannot be compared"
    )


def _no_difference(measured: Sequence[Measured]) -> str | None:
    """Return what is the same at all boundaries; None if a value differs, or there is but one."""
    values = [each.value for each in measured]
    if len(measured) == 1 or any(value != values[0] for value in values):
        return None
    alike = len({each.responses for each in measured}) == 1
    how = "all of them gave the same answers" if alike else f"all of them score {values[0]:.4g}"
    documents = _documents(measured)
    kind = "document" if documents == 1 else "documents"
    return f"no difference between boundaries was measured on {documents} {kind}; {how}"


def _rows(measured: Sequence[Measured], found: Sequence[Row], full: int) -> list[Row]:
    ordered = sorted(measured, key=lambda each: each.boundary)
    documents = {each.boundary: each.items.keys() for each in ordered}
    return [
        {
            "boundary": each.boundary,
            "documents": len(each.items),
            "value": each.value if math.isfinite(each.value) else None,
            "stderr": each.stderr,
            **{name: row[name] for name in STATISTICS},
            # means over different documents have no difference
            **{
                name: None
                for name, reference in (("delta_full", full), ("delta_base", -1))
                if documents.get(reference) != each.items.keys()
            },
            "metrics": each.metrics,
        }
        for each, row in zip(ordered, found, strict=True)
    ]
