"""The result of a sweep as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from .formatting import called, shows
from .terminal_families import families_table, layer_map_tables

_NOTHING = "–"


def tables(summary: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables of a ``sweep.json``: for each task, and for its scores on the test split."""
    for task, entry in summary["tasks"].items():
        best = None if entry["not_chosen"] else entry["best"]
        reason = entry["choice_reason"]
        keep = f"Keep the whole adapter (boundary {entry['choice']}): {reason}." if reason else None
        title = f"{task}, {entry['split']} split, by {entry['metric']}"
        table = _table(title, entry["metric"], entry["boundaries"], best)
        table.caption = keep if entry["not_chosen"] else _caption(entry)
        yield table
        families = families_table(task, entry)
        if families is not None:
            yield families
        if entry["test"]:
            title = f"{task}, test split: the choice, the whole adapter and the base model"
            others = [{"boundary": None, **row} for row in entry["test"].get("cuts", ())]
            rows = [*entry["test"]["boundaries"], *others]
            table = _table(title, entry["metric"], rows, best)
            table.caption = keep
            yield table
    yield from layer_map_tables(summary["tasks"])


def _table(
    title: str, metric: str, rows: Sequence[Mapping[str, Any]], best: int | str | None
) -> Table:
    others = [
        key
        for key in rows[0]["metrics"]
        if "," in key and not key.split(",")[0].endswith("_stderr") and key != metric
    ]
    table = Table(title=title)
    full, base = "vs. whole adapter [95 %]", "vs. base model [95 %]"
    named = ("boundary", metric, full, "p (Holm)", base, "wins", "risk")
    differ = len({row.get("documents") for row in rows}) > 1
    for heading in (*named, *(("documents",) if differ else ()), *others):
        table.add_column(heading.removesuffix(",none"), justify="right")
    for row in rows:
        name = row["cut"] if row["boundary"] is None else row["boundary"]
        chosen = name == best
        stderr = "" if row["stderr"] is None else f" ±{row['stderr']:.3f}"
        table.add_row(
            f"{name}{' *' if chosen else ''}",
            f"{_number(row['value'], '.3f')}{stderr}",
            _difference(row["delta_full"], row["ci_low"], row["ci_high"]),
            _number(row["p_holm"], ".2g"),
            _difference(row["delta_base"], row["base_ci_low"], row["base_ci_high"]),
            _number(row["win_rate"], ".0%"),
            _number(row["loss_risk"], ".0%"),
            *((str(row["documents"]),) if differ else ()),
            *(_number(row["metrics"].get(key), ".3f") for key in others),
            style="bold" if chosen else None,
        )
    return table


def _caption(entry: Mapping[str, Any]) -> str:
    """Say what the table shows, and how far its best row can be trusted."""
    smallest, collapse, optimism = (
        entry[key] for key in ("smallest_equivalent", "collapse", "optimism")
    )
    best = entry.get("best")
    named = f"The best cut is {called(best)}" if isinstance(best, str) else "* best"
    parts = [
        f"{named}; wins: how often a boundary is the best when documents are resampled; risk: how "
        "often it is then worse than the whole adapter."
    ]
    if smallest is not None:
        parts.append(f"Smallest scored boundary that is not significantly worse: {smallest}.")
    if collapse is not None:
        parts.append(
            f"All scored boundaries up to {collapse} are significantly worse than the whole "
            "adapter."
        )
    # where there was nothing to choose, no score is inflated
    if optimism is not None and shows(optimism["value"]):
        parts.append(
            f"Expect about {optimism['corrected']:.3f} on new documents: choosing the best on "
            f"these inflates its score by about {optimism['value']:.3f}."
        )
    return " ".join(parts)


def _difference(delta: float | None, low: float | None, high: float | None) -> str:
    text = _number(delta, "+.3f")
    return text if low is None or high is None else f"{text} [{low:+.3f}, {high:+.3f}]"


def _number(value: float | None, form: str) -> str:
    return _NOTHING if value is None else format(value, form)
