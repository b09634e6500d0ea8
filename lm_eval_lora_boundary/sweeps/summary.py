"""What ``sweep.json`` says about a task: its statistics, and the decision.

In all functions, ``full`` is the boundary that keeps the whole adapter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..cuts.families import Family
from ..harness.tasks import LoadedTasks
from ..stats.permutation import LEVEL
from ..stats.race import Race
from ..stats.selection import STATISTICS, Name, Row, describe, select
from .family_summary import (
    best_boundary,
    controls,
    family_rows,
    kept_by_boundaries,
    layer_maps,
)
from .scores import Measured, Scored, TaskScores


def summarise_tasks(
    tasks: LoadedTasks,
    scored: Scored,
    families: Sequence[Family],
    full: int,
    race: Race | None,
) -> dict[str, dict[str, Any]]:
    """Return what ``sweep.json`` says about every task, without the decision.

    Raises:
        TaskError: A task has no finite value under any cut.
    """
    summaries = {
        name: summarise(scores, families, full, tasks.splits[name])
        for name, scores in scored.tasks.items()
    }
    if race and race.dropped:  # what they would score on resampled documents is unknown
        summaries = {name: entry | {"optimism": None} for name, entry in summaries.items()}
    return summaries


def summarise(
    scores: TaskScores, families: Sequence[Family], full: int, split: str
) -> dict[str, Any]:
    """Return what ``sweep.json`` says about a task, without the decision.

    Raises:
        TaskError: No cut has a finite value.
    """
    selection = select(scores.paired, full)
    rows = _rows(scores.measured, selection.rows, full)
    boundaries = [row for name, row in rows.items() if isinstance(name, int)]
    if families:
        boundaries = kept_by_boundaries(families[0], boundaries)
    summary = {
        "metric": scores.metric.key,
        "higher_is_better": scores.metric.higher_is_better,
        "split": split,
        "documents": _documents(scores.measured),
        "boundaries": boundaries,
        "best": selection.best,
        "best_boundary": best_boundary(scores.paired),
        "smallest_equivalent": selection.smallest_equivalent,
        "collapse": selection.collapse,
        "optimism": selection.optimism,
        "selection": "same documents",
        "test": None,
        "not_chosen": None,
    }
    different = _different_documents(scores.measured, split)
    if families:
        comparable = () if different else families
        summary |= {
            "families": family_rows(families, rows),
            "layer_map": layer_maps(comparable, scores.paired, full),
            "controls": controls(comparable, scores.paired, full),
        }
    why = different or _no_difference(scores.measured)
    return summary | _nothing_chosen(why, full) if why else summary


def confirmed(summary: Mapping[str, Any], scores: TaskScores, full: int) -> dict[str, Any]:
    """Return the summary of a task with its scores on the test split."""
    rows = _rows(scores.measured, describe(scores.paired, full), full)
    test = {
        "split": "test",
        "documents": _documents(scores.measured),
        "boundaries": [row for name, row in rows.items() if isinstance(name, int)],
        "cuts": [{"cut": name, **row} for name, row in rows.items() if isinstance(name, str)],
    }
    found = {**summary, "selection": "other documents", "test": test}
    why = _different_documents(scores.measured, "test")
    return found | _nothing_chosen(why, full) if why else found


def _nothing_chosen(why: str, full: int) -> dict[str, Any]:
    """Return what is different in a summary if there was no reason to choose.

    The whole adapter stands for the best, and nothing is said about a choice.
    """
    nothing = dict.fromkeys(("smallest_equivalent", "collapse", "optimism"))
    return {**nothing, "best": full, "best_boundary": full, "not_chosen": why}


def decide(summary: Mapping[str, Any], full: int) -> dict[str, Any]:
    """Return the summary of a task with the recommended cut, and why it is not the best.

    This is the only place where it is decided: the terminal, the report and ``--save`` read
    ``choice`` and ``choice_reason``.
    """
    reason = summary["not_chosen"] or _worse_on_test(summary)
    choice = full if reason else summary["best"]
    return {**summary, "choice": choice, "choice_reason": reason}


def _worse_on_test(summary: Mapping[str, Any]) -> str | None:
    """Return how the best cut is significantly worse on the test split; None if it is not."""
    best, test = summary["best"], summary["test"]
    row = row_of(test, best) if test else None
    if row is None or row["delta_full"] is None or row["p_value"] is None:
        return None
    gain = row["delta_full"] if summary["higher_is_better"] else -row["delta_full"]
    if row["p_value"] > 1 - LEVEL or gain >= 0:
        return None
    return (
        f"{_called(best)}, the best on the {summary['split']} split, is significantly worse than "
        f"the whole adapter on the {test['split']} split ({row['delta_full']:+.4g}, "
        f"p = {row['p_value']:.2g})"
    )


def _called(name: Name) -> str:
    return f"boundary {name}" if isinstance(name, int) else f"keep={name}"


def row_of(entry: Mapping[str, Any], name: Name) -> dict[str, Any] | None:
    """Return the row of a cut, from what ``sweep.json`` says about a task or its test split."""
    if isinstance(name, int):
        return next((row for row in entry["boundaries"] if row["boundary"] == name), None)
    families = entry.get("families", {}).values()
    others = [row for family in families for row in family["cuts"]] + entry.get("cuts", [])
    return next((row for row in others if row["cut"] == name), None)


def _documents(measured: Sequence[Measured]) -> int:
    """Return how many documents were scored under any cut."""
    return len(set().union(*(each.items for each in measured)))


def _different_documents(measured: Sequence[Measured], split: str) -> str | None:
    """Return why cuts cannot be compared; None if all were scored on the same documents."""
    if len({frozenset(each.items) for each in measured}) == 1:
        return None
    numbers = [len(each.items) for each in measured]
    low, high = min(numbers), max(numbers)
    return (
        f"the cuts were scored on different {split} documents "
        f"({low if low == high else f'{low} to {high}'} each), because the task leaves out "
        "answers that it cannot score, so their values cannot be compared"
    )


def _no_difference(measured: Sequence[Measured]) -> str | None:
    """Return what is the same under all cuts; None if a value differs or there is only one."""
    values = [each.value for each in measured]
    if len(measured) == 1 or any(value != values[0] for value in values):
        return None
    alike = len({each.responses for each in measured}) == 1
    how = f"all cuts {'gave the same answers' if alike else f'score {values[0]:.4g}'}"
    documents = _documents(measured)
    kind = "document" if documents == 1 else "documents"
    return f"no difference between cuts was measured on {documents} {kind}; {how}"


def _rows(measured: Sequence[Measured], rows: Sequence[Row], full: int) -> dict[Name, Row]:
    """Return the row of each cut, by its name; that of a boundary begins with it."""
    documents = {each.cut.name: each.items.keys() for each in measured}
    return {
        each.cut.name: {
            **({} if each.cut.boundary is None else {"boundary": each.cut.boundary}),
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
        for each, row in zip(measured, rows, strict=True)
    }
