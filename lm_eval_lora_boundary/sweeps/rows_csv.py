"""``sweep.csv``: the scores of a sweep in one table, a row for each cut, as pandas reads it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from ..cuts.keep import Cut

# the first columns; those that the rows of sweep.json have follow in their own order
_FIRST = ("task", "role", "split", "metric", "family", "cut", "boundary")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a spreadsheet knows one


def rows_csv(summary: Mapping[str, Any]) -> str:
    """Return the content of ``sweep.csv``.

    Args:
        summary: The content of ``sweep.json``.
    """
    rows = list(_rows(summary))
    columns = dict.fromkeys([*_FIRST, *(key for row in rows for key in row)])
    out = io.StringIO()
    writer = csv.DictWriter(out, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _rows(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    layers = summary["layers"]
    for task, entry in summary["tasks"].items():
        about = {"task": task, "role": "task", "metric": entry["metric"]}
        yield from _of_split(about, entry, layers)
        if entry["test"]:
            yield from _of_split(about, entry["test"], layers)
    for task, entry in summary.get("control_tasks", {}).items():
        yield from _of_split(
            {"task": task, "role": "control", "metric": entry["metric"]}, entry, layers
        )


def _of_split(
    about: Mapping[str, Any], entry: Mapping[str, Any], layers: int
) -> Iterator[dict[str, Any]]:
    """Yield the rows of boundaries, then those of the cuts of other families."""
    about = {**about, "split": entry["split"]}
    for row in entry["boundaries"]:
        cut = Cut.up_to(row["boundary"], layers).notation
        yield {**about, "family": "upper", **_flat(row), "cut": cut}
    for row in entry.get("cuts", ()):
        yield {**about, "family": None, **_flat(row)}
    for family, found in entry.get("families", {}).items():
        for row in found["cuts"]:
            yield {**about, "family": family, **_flat(row)}


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with a column for every metric."""
    metrics = {f"metrics/{key}": value for key, value in row["metrics"].items()}
    return {key: value for key, value in row.items() if key != "metrics"} | metrics


def _cell(value: Any) -> Any:
    """Return a value; a text that a spreadsheet would compute is marked as text."""
    hostile = isinstance(value, str) and value.startswith(_FORMULA)
    return f"'{value}" if hostile else value
