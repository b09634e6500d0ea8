"""What sweeps and traces are told about the model, the tasks and the prompts."""

from __future__ import annotations

from collections.abc import Sequence


def as_names(tasks: str | Sequence[str]) -> tuple[str, ...]:
    """Return task names from a list, or from text with commas."""
    parts = tasks.split(",") if isinstance(tasks, str) else tasks
    return tuple(part.strip() for part in parts if part.strip())
