"""What a sweep found: ``sweep.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..select import STATISTICS, Row, Scores, describe, select
from .measuring import Measured, Metric

SAME, OTHER = "same documents", "other documents"


def summarise(
    metric: Metric, measured: Sequence[Measured], scores: Scores, full: int, split: str
) -> dict[str, Any]:
    """Return what ``sweep.json`` says about a task.

    Args:
        metric: The metric.
        measured: The values at each boundary.
        scores: The same, as something to resample.
        full: The boundary that keeps the whole adapter.
        split: The split that was evaluated.

    Raises:
        TaskError: No boundary has a finite value.
    """
    found = select(scores, full)
    return {
        "metric": metric.key,
        "higher_is_better": metric.higher_is_better,
        "split": split,
        "documents": len(measured[0].items),
        "boundaries": _rows(measured, found.rows),
        "best": found.best,
        "smallest_equivalent": found.smallest_equivalent,
        "collapse": found.collapse,
        "optimism": found.optimism,
        "selection": SAME,
        "test": None,
    }


def confirmed(
    summary: dict[str, Any], measured: Sequence[Measured], scores: Scores, full: int
) -> dict[str, Any]:
    """Return the summary of a task with what its choice scored on documents it was not chosen by.

    Args:
        summary: What :func:`summarise` returned.
        measured: The values on the test split at the best boundary and a few others.
        scores: The same, as something to resample.
        full: The boundary that keeps the whole adapter.
    """
    test = {
        "split": "test",
        "documents": len(measured[0].items),
        "boundaries": _rows(measured, describe(scores, full)),
    }
    return summary | {"selection": OTHER, "test": test}


def _rows(measured: Sequence[Measured], found: Sequence[Row]) -> list[Row]:
    ordered = sorted(measured, key=lambda each: each.boundary)
    return [
        {
            "boundary": each.boundary,
            "value": each.value if math.isfinite(each.value) else None,
            "stderr": each.stderr,
            **{name: row[name] for name in STATISTICS},
            "metrics": each.metrics,
        }
        for each, row in zip(ordered, found, strict=True)
    ]
