"""Score tasks at boundaries, and write what lm-eval says about each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..select import Scores
from .evaluation import Evaluation
from .measuring import Measured, Metric, choose_metric, measure, numbers, scores


@dataclass
class Scored:
    """What tasks and groups scored at boundaries.

    Attributes:
        metrics: What to choose by, for every task.
        measured: The values of every task, by boundary.
        groups: lm-eval's numbers of every group, by boundary.
    """

    metrics: dict[str, Metric] = field(default_factory=dict)
    measured: dict[str, list[Measured]] = field(default_factory=dict)
    groups: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def score(
    evaluation: Evaluation, boundaries: Sequence[int], output: Path, metric: str | None
) -> Scored:
    """Evaluate boundaries and write lm-eval's files of each.

    Args:
        evaluation: What evaluates.
        boundaries: The boundaries.
        output: Where to put the folders of the boundaries.
        metric: What to choose by; None for the first metric of each task.

    Raises:
        TaskError: A task has no such metric.
        OutputError: The files cannot be written.
    """
    found = Scored()
    for boundary in boundaries:
        results = evaluation.at(boundary)
        for name, task in evaluation.tasks.tasks.items():
            if name not in found.metrics:
                found.metrics[name] = choose_metric(task, results, metric)
            found.measured.setdefault(name, []).append(
                measure(name, found.metrics[name], boundary, results)
            )
        for group, values in results.get("groups", {}).items():
            row = {"boundary": boundary, "metrics": numbers(values)}
            found.groups.setdefault(group, []).append(row)
        evaluation.write(output, boundary, results)
    return found


def task_scores(evaluation: Evaluation, scored: Scored, task: str) -> Scores:
    """Return a task's values at all boundaries, and how to resample them."""
    return scores(evaluation.tasks.tasks[task], scored.metrics[task], scored.measured[task])
