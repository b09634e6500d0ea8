"""Log a finished trace: the probabilities of the gold answer over the layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..harness.loggers.log import log_run
from ..harness.loggers.options import LoggerOptions
from ..harness.loggers.runs import Curves

_SHOWN = ("mean", "median", "q25", "q75")


def log_trace(output: Path, summary: Mapping[str, Any], options: LoggerOptions) -> None:
    """Log a finished trace as one run in W&B and trackio; a failure is one warning.

    Args:
        output: Its folder.
        summary: The content of ``trace.json``.
        options: Where it goes.

    Raises:
        OutputError: The folder cannot be written.
    """
    log_run(
        output,
        options,
        peft=summary["settings"]["peft"],
        signature=summary["signature"],
        curves=_curves(summary),
        evaluations=(),
    )


def _curves(summary: Mapping[str, Any]) -> Curves:
    steps: dict[int, dict[str, float]] = defaultdict(dict)
    for task, entry in summary["tasks"].items():
        for model, layers in entry["models"].items():
            for row in layers:
                numbers = {f"{task}/{model}/{name}": row[name] for name in _SHOWN}
                steps[row["layer"]] |= numbers
    candidates = {task: entry["candidate"] for task, entry in summary["tasks"].items()}
    facts = {"signature": summary["signature"], "candidates": candidates}
    return Curves("trace", sorted(steps.items()), facts)
