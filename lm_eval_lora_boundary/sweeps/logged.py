"""Log a finished sweep: lm-eval's results of every cut, and the scores over the boundaries."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..files import SWEEP, read_object
from ..harness.loggers.evaluations import AGAIN, evaluated
from ..harness.loggers.log import log_run
from ..harness.loggers.options import LoggerOptions
from ..harness.loggers.runs import Curves

# of a boundary, beside its value: how it compares with the whole adapter
_SHOWN = ("delta_full", "ci_low", "ci_high", "p_value", "gain_kept")


def log_sweep(output: Path, options: LoggerOptions) -> None:
    """Log a finished sweep; a failure is one warning.

    Args:
        output: Its folder.
        options: Where it goes.

    Raises:
        OutputError: The folder cannot be read or written.
    """
    summary = read_object(output / SWEEP, AGAIN)
    log_run(
        output,
        options,
        peft=summary["settings"]["peft"],
        signature=summary["signature"],
        curves=_curves(summary),
        evaluations=evaluated(output),
    )


def _curves(summary: Mapping[str, Any]) -> Curves:
    steps: dict[int, dict[str, float]] = defaultdict(dict)
    for task, entry in summary["tasks"].items():
        for row in entry["boundaries"]:
            steps[row["boundary"] + 1] |= dict(_numbers(task, entry["metric"], row))
    facts: dict[str, Any] = {"signature": summary["signature"]}
    for task, entry in summary["tasks"].items():
        facts[task] = {name: entry.get(name) for name in ("choice", "best", "smallest_noninferior")}
    # a step is a number of layers: it may not be -1
    ordered = [(kept, {"boundary": kept - 1, **steps[kept]}) for kept in sorted(steps)]
    return Curves("sweep", ordered, facts)


def _numbers(task: str, metric: str, row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a boundary under the names that lm-eval's loggers use."""
    for name in ("value", *_SHOWN):
        number = row.get(name)
        if isinstance(number, (int, float)) and math.isfinite(number):
            shown = metric.removesuffix(",none") if name == "value" else name
            yield f"{task}/{shown}", number
