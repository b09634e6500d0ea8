"""Read what ``sweep.json`` says about control tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checked import boundaries, entries, optional, row, take
from .data import CutName, Row


@dataclass(frozen=True)
class ControlTask:
    """The scores of a control task under the cuts of a sweep.

    Attributes:
        name: Its name.
        metric: lm-eval's key of the metric.
        higher_is_better: Which way is better.
        rows: By cut.
    """

    name: str
    metric: str
    higher_is_better: bool
    rows: Mapping[CutName, Row]


def control_tasks(content: Mapping[str, Any], path: Path) -> tuple[ControlTask, ...]:
    """Return the control tasks of a sweep, in the order of the file."""
    found = []
    for name, entry in optional(content, "control_tasks", path).items():
        others = (row(each, path) for each in entries(entry, "cuts", path))
        found.append(
            ControlTask(
                name,
                take(entry, "metric", str, path),
                take(entry, "higher_is_better", bool, path),
                {each.name: each for each in (*boundaries(entry, path), *others)},
            )
        )
    return tuple(found)
