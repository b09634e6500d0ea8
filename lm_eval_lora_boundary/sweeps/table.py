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
        for heading in ("boundary", metric, "to full [95 %]", "wins", *others):
            table.add_column(heading.removesuffix(",none"), justify="right")
        for row in found["boundaries"]:
            best = row["boundary"] == found["best"]
            stderr = "" if row["stderr"] is None else f" ±{row['stderr']:.3f}"
            delta = "" if row["delta_full"] is None else f"{row['delta_full']:+.3f}"
            if row["ci_low"] is not None:
                delta += f" [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]"
            wins = "" if row["win_rate"] is None else f"{row['win_rate']:.0%}"
            table.add_row(
                f"{row['boundary']}{' *' if best else ''}",
                f"{row['value']:.3f}{stderr}",
                delta,
                wins,
                *(f"{row['metrics'].get(key, float('nan')):.3f}" for key in others),
                style="bold" if best else None,
            )
        table.caption = (
            "* best; wins: share of resampled document sets in which it is. Chosen and shown on "
            "the same documents, the best looks better than it is."
        )
        yield table
