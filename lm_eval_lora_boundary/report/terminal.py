"""What a sweep found, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from ..stats.recommendation import advise
from .formatting import shows

_NOTHING = "–"


def tables(summary: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables of a ``sweep.json``: each task, and what its choice scored on other data."""
    for task, found in summary["tasks"].items():
        title = f"{task}, {found['split']} split, by {found['metric']}"
        advice = advise(found, summary["layers"] - 1)
        why = found.get("not_chosen")
        best = None if why else found["best"]
        table = _table(title, found["metric"], found["boundaries"], best)
        table.caption = _caption(found)
        if why:
            table.caption = f"Keep the whole adapter (boundary {advice.boundary}): {why}."
        yield table
        if found["test"]:
            title = f"{task}, test split: the choice, the whole adapter and the base model"
            table = _table(title, found["metric"], found["test"]["boundaries"], best)
            if advice.reason:
                table.caption = (
                    f"Keep the whole adapter (boundary {advice.boundary}): {advice.reason}."
                )
            yield table


def _table(title: str, metric: str, rows: Sequence[Mapping[str, Any]], best: int | None) -> Table:
    others = [
        key
        for key in rows[0]["metrics"]
        if "," in key and not key.split(",")[0].endswith("_stderr") and key != metric
    ]
    table = Table(title=title)
    named = ("boundary", metric, "to full [95 %]", "p (Holm)", "to base [95 %]", "wins", "risk")
    differ = len({row.get("documents") for row in rows}) > 1
    for heading in (*named, *(("documents",) if differ else ()), *others):
        table.add_column(heading.removesuffix(",none"), justify="right")
    for row in rows:
        chosen = row["boundary"] == best
        stderr = "" if row["stderr"] is None else f" ±{row['stderr']:.3f}"
        table.add_row(
            f"{row['boundary']}{' *' if chosen else ''}",
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


def _caption(found: Mapping[str, Any]) -> str:
    """Say what the table shows, and how far its best row is to be believed."""
    parts = [
        "* best; wins: share of resampled document sets in which it is; risk: share of them in "
        "which a boundary is worse than the whole adapter."
    ]
    smallest, collapse, optimism = (
        found[key] for key in ("smallest_equivalent", "collapse", "optimism")
    )
    if smallest is not None:
        parts.append(f"Smallest scored boundary not distinguishable from it: {smallest}.")
    if collapse is not None:
        parts.append(
            f"Up to boundary {collapse}, all that were scored are significantly worse than the "
            "adapter."
        )
    # where there was nothing to choose, nothing is flattered
    if optimism is not None and shows(optimism["value"]):
        parts.append(
            f"Chosen on these documents, the best looks better than it is, by about "
            f"{optimism['value']:.3f}: {optimism['corrected']:.3f} is fair."
        )
    return " ".join(parts)


def _difference(delta: float | None, low: float | None, high: float | None) -> str:
    text = _number(delta, "+.3f")
    return text if low is None or high is None else f"{text} [{low:+.3f}, {high:+.3f}]"


def _number(value: float | None, form: str) -> str:
    return _NOTHING if value is None else format(value, form)
