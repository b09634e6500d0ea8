"""What ``sweep.json`` says about a task: its statistics.

In all functions, ``full`` is the boundary that keeps the whole adapter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..cuts.families import Family
from ..harness.tasks import LoadedTasks
from ..stats.margin import Margin
from ..stats.race import Race
from ..stats.scores import Name, Scores
from ..stats.selection import STATISTICS, Row, describe, select
from ..stats.sequences import Keeping, Order, keeping
from .family_summary import (
    best_boundary,
    controls,
    family_rows,
    kept_by_boundaries,
    layer_maps,
    orders,
)
from .scores import Measured, Scored, TaskScores


def summarise_tasks(
    tasks: LoadedTasks,
    scored: Scored,
    families: Sequence[Family],
    full: int,
    race: Race | None,
    margin: Margin,
) -> dict[str, dict[str, Any]]:
    """Return what ``sweep.json`` says about every task, without the decision.

    Raises:
        TaskError: A task has no finite value under any cut.
    """
    dropped = [out.cut for out in race.dropped] if race else []
    return {
        name: summarise(
            *(scores, families, full, tasks.splits[name], margin),
            cluster=tasks.clusters.get(name),
            dropped=dropped,
        )
        for name, scores in scored.tasks.items()
    }


def summarise(
    scores: TaskScores,
    families: Sequence[Family],
    full: int,
    split: str,
    margin: Margin,
    *,
    cluster: str | None = None,
    dropped: Sequence[Name] = (),
) -> dict[str, Any]:
    """Return what ``sweep.json`` says about a task, without the decision.

    Args:
        scores: What the task scored.
        families: The families other than the boundaries.
        full: The boundary that keeps the whole adapter.
        split: The split of the documents.
        margin: How much of the gain a cut may lose.
        cluster: The field that says which documents belong together.
        dropped: The cuts that a race dropped.

    Raises:
        TaskError: No cut has a finite value.
    """
    selection = select(scores.paired, full, margin)
    rows = _rows(scores.measured, selection.rows, full)
    boundaries = [row for name, row in rows.items() if isinstance(name, int)]
    if families:
        boundaries = kept_by_boundaries(families[0], boundaries)
    if dropped:  # what they would score on other documents is unknown
        for row in rows.values():
            row["selection_share"] = None
    asked = orders(families, {*rows, *dropped}, full, margin)
    kept = keeping(list(rows), [row["p_noninferior"] for row in rows.values()], asked)
    summary = {
        "metric": scores.metric.key,
        "higher_is_better": scores.metric.higher_is_better,
        "margin": str(margin),
        "split": split,
        "documents": _documents(scores.measured),
        "clusters": _clusters(scores.paired, cluster),
        "boundaries": boundaries,
        "best": selection.best,
        "best_boundary": best_boundary(scores.paired),
        "same_as_base": _same_as_base(scores.measured, full),
        "keeping": _kept(kept, asked, dropped),
        "collapse": selection.collapse,
        "optimism": None if dropped else selection.optimism,
        "selection": "same documents",
        "test": None,
        "not_chosen": None,
    }
    if scores.likelihood is not None:
        summary["likelihood"] = described(scores.likelihood, full, split, cluster)
    different = _different_documents(scores.measured, split)
    if families:
        comparable = () if different else families
        summary |= {
            "families": family_rows(families, rows),
            "layer_map": layer_maps(comparable, scores.paired, full),
            "controls": controls(comparable, scores.paired, full),
        }
    why = different or _no_difference(scores.measured) or _one_cluster(summary)
    return summary | _nothing_chosen(why, full) if why else summary


def _kept(kept: Keeping, asked: Sequence[Order], dropped: Sequence[Name]) -> dict[str, Any]:
    """Return which cuts are shown to keep the gain, and how that was tested."""
    return {
        "cuts": kept.cuts,
        "level": kept.level,
        "families": len(asked),
        "stopped_at": kept.stopped_at,
        "dropped": len(dropped),
        "stopped_by_race": kept.stopped_at in dropped,
    }


def confirmed(
    summary: Mapping[str, Any], scores: TaskScores, full: int, cluster: str | None = None
) -> dict[str, Any]:
    """Return the summary of a task with its scores on the test split."""
    test = described(scores, full, "test", cluster, Margin.read(summary["margin"]))
    if scores.likelihood is not None:
        test["likelihood"] = described(scores.likelihood, full, "test", cluster)
    found = {**summary, "selection": "other documents", "test": test}
    why = _different_documents(scores.measured, "test") or _one_cluster(test)
    return found | _nothing_chosen(why, full) if why else found


def described(
    scores: TaskScores,
    full: int,
    split: str,
    cluster: str | None,
    margin: Margin | None = None,
) -> dict[str, Any]:
    """Return what ``sweep.json`` says about scores that nothing is chosen by."""
    rows = _rows(scores.measured, describe(scores.paired, full, margin=margin), full)
    return {
        "split": split,
        "documents": _documents(scores.measured),
        "clusters": _clusters(scores.paired, cluster),
        "boundaries": [row for name, row in rows.items() if isinstance(name, int)],
        "cuts": [{"cut": name, **row} for name, row in rows.items() if isinstance(name, str)],
    }


def _clusters(scores: Scores, field: str | None) -> dict[str, Any] | None:
    """Return what was drawn instead of documents; None if documents were."""
    units = scores.units
    if field is None or units is None or units.of is None:
        return None
    return {"field": field, "count": units.count}


def _nothing_chosen(why: str, full: int) -> dict[str, Any]:
    """Return what is different in a summary if there was no reason to choose.

    The whole adapter stands for the best, and nothing is said about a choice.
    """
    nothing = dict.fromkeys(("keeping", "collapse", "optimism"))
    return {**nothing, "best": full, "best_boundary": full, "not_chosen": why}


def rows_of(entry: Mapping[str, Any]) -> Iterator[tuple[Name, Row]]:
    """Yield name and row of every cut, from what ``sweep.json`` says about a task or its test."""
    for row in entry["boundaries"]:
        yield row["boundary"], row
    families = entry.get("families", {}).values()
    for row in [*(row for family in families for row in family["cuts"]), *entry.get("cuts", ())]:
        if row.get("boundary") is None:
            yield row["cut"], row


def row_of(entry: Mapping[str, Any], name: Name) -> Row | None:
    """Return the row of a cut; None if it was not scored."""
    return dict(rows_of(entry)).get(name)


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


def _one_cluster(entry: Mapping[str, Any]) -> str | None:
    """Return why nothing can be tested if all documents belong together; None if they do not."""
    clusters = entry["clusters"]
    if clusters is None or clusters["count"] > 1:
        return None
    return (
        f"all {entry['documents']} {entry['split']} documents have the same {clusters['field']} "
        "and count as one, so nothing can be tested"
    )


def _same_as_base(measured: Sequence[Measured], full: int) -> bool:
    """Return whether whole adapter and base model answered every document in the same way."""
    responses = {each.cut.name: each.responses for each in measured}
    return full in responses and responses[full] == responses.get(-1)


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
