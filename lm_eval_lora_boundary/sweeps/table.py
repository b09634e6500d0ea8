"""What a sweep found, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table


def tables(summary: Mapping[str, Any]) -> Iterator[Table]:
    """Yield one table per task of a ``sweep.json``."""
    for task, found in summary["tasks"].items():
        metric = found["metric"]
        others = [
            key
            for key in found["boundaries"][0]["metrics"]
            if "," in key and not key.split(",")[0].endswith("_stderr") and key != metric
        ]
        table = Table(title=f"{task}, by {metric}")
        for heading in ("boundary", metric, "to full", *others):
            table.add_column(heading.removesuffix(",none"), justify="right")
        for row in found["boundaries"]:
            best = row["boundary"] == found["best"]
            stderr = "" if row["stderr"] is None else f" ±{row['stderr']:.3f}"
            delta = "" if row["delta_full"] is None else f"{row['delta_full']:+.3f}"
            table.add_row(
                f"{row['boundary']}{' *' if best else ''}",
                f"{row['value']:.3f}{stderr}",
                delta,
                *(f"{row['metrics'].get(key, float('nan')):.3f}" for key in others),
                style="bold" if best else None,
            )
        table.caption = f"* best; -1 is the base model. {len(found['boundaries'])} boundaries"
        yield table
