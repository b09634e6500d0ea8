"""Metrics of a task at a boundary, out of lm-eval's results."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_eval.api.metrics import mean
from lm_eval.api.task import Task

from ..errors import TaskError
from ..harness.evaluation import Evaluation
from ..stats.selection import Scores
from ..stats.statistic import statistic
from .scheduler import Scheduler


@dataclass(frozen=True)
class Metric:
    """A metric of a task, after a filter.

    Attributes:
        name: Name of the metric.
        filter: Name of the filter.
        higher_is_better: Which way is better.
        mean: Whether its value is the mean over documents.
    """

    name: str
    filter: str
    higher_is_better: bool
    mean: bool

    @property
    def key(self) -> str:
        """The key in lm-eval's results."""
        return f"{self.name},{self.filter}"


@dataclass
class Measured:
    """A task's values at one boundary.

    Attributes:
        boundary: The boundary.
        value: Value of the metric over the documents that the task could score; NaN if there
            are none.
        stderr: lm-eval's standard error; None where it has none.
        items: What lm-eval keeps of every document for the metric, by ``doc_id``: a number, or
            reference and response for corpus metrics.
        metrics: All of the task's values, by lm-eval's key.
        responses: Hash of what the model answered.
    """

    boundary: int
    value: float
    stderr: float | None
    items: dict[int, Any] = field(repr=False)
    metrics: dict[str, Any] = field(repr=False)
    responses: str = ""


def check_metric(task: Task, asked: str | None) -> None:
    """Refuse, before anything is answered, a metric that a task cannot be chosen by.

    Raises:
        TaskError: The task has no such metric, or does not say which way is better.
    """
    directions = task.higher_is_better()
    known = [name for name in task.aggregation() if directions.get(name) is not None]
    name = (asked or "").partition(",")[0]
    if not known:
        raise TaskError(
            f"{task.task_name} says of no metric whether more of it is better, so that no "
            "boundary can be chosen; add higher_is_better to its YAML"
        )
    if name in directions and directions[name] is None:
        raise TaskError(
            f"metric={asked}: {task.task_name} does not say whether more of it is better; "
            f"expected one of {', '.join(known)}"
        )
    if name and name not in known:
        raise TaskError(
            f"metric={asked} is none of {task.task_name}; expected one of {', '.join(known)}"
        )
    filters = [each.name for each in task._filters]
    filter_name = (asked or "").partition(",")[2]
    if filter_name and filter_name not in filters:
        choices = ", ".join(f"{name or known[0]},{each}" for each in filters)
        raise TaskError(
            f"metric={asked}: {task.task_name} has no filter {filter_name}; expected one of "
            f"{choices}"
        )


def choose_metric(task: Task, results: Mapping[str, Any], asked: str | None) -> Metric:
    """Return the metric to choose boundaries by.

    Args:
        task: The task.
        results: lm-eval's results at any boundary.
        asked: ``metric``, ``metric,filter``, or None for the first one of the task.

    Raises:
        TaskError: The task has no such metric, or it does not say which way is better.
    """
    task_name = task.task_name
    directions: dict[str, bool | None] = results["higher_is_better"].get(task_name, {})
    keys = [
        tuple(key.split(",", 1))
        for key in results["results"][task_name]
        if "," in key and not key.split(",")[0].endswith("_stderr")
    ]
    known = [key for key in keys if directions.get(key[0]) is not None]
    name, _, filter_name = (asked or "").partition(",")
    if not keys or asked:  # perhaps the task could score no answer at this boundary
        known += [
            (each, filter_.name)
            for filter_ in task._filters
            for each in task.aggregation()
            if directions.get(each) is not None and (each, filter_.name) not in known
        ]
    matches = [k for k in known if (not name or k[0] == name) and filter_name in ("", k[1])]
    if not matches:
        choices = ", ".join(",".join(key) for key in known)
        if any(key[0] == name for key in keys) and directions.get(name) is None:
            raise TaskError(
                f"metric={asked}: {task_name} does not say whether more of it is better, so "
                f"nothing can be chosen by it; expected one of {choices}"
            )
        raise TaskError(f"metric={asked} is none of {task_name}; expected one of {choices}")
    name, filter_name = matches[0]
    higher = bool(directions[name])
    return Metric(name, filter_name, higher, task.aggregation().get(name) is mean)


def measure(task: str, metric: Metric, boundary: int, results: Mapping[str, Any]) -> Measured:
    """Return a task's values at a boundary.

    Args:
        task: The task.
        metric: The metric.
        boundary: The boundary.
        results: lm-eval's results at the boundary, with samples.
    """
    found = results["results"][task]
    samples = results["samples"][task]
    stderr = found.get(f"{metric.name}_stderr,{metric.filter}")
    items = {
        sample["doc_id"]: sample[metric.name]
        for sample in samples
        if sample["filter"] == metric.filter and metric.name in sample
    }
    return Measured(
        boundary,
        float(found.get(metric.key, math.nan)),
        float(stderr) if isinstance(stderr, (int, float)) and math.isfinite(stderr) else None,
        items,
        numbers(found),
        _hash(samples),
    )


def _hash(samples: Sequence[Mapping[str, Any]]) -> str:
    """Return a hash of the answers in samples."""
    answers = sorted((sample["doc_id"], repr(sample["resps"])) for sample in samples)
    return hashlib.sha256(repr(answers).encode("utf-8", "surrogatepass")).hexdigest()


def numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """Return what is a number among lm-eval's results of a task or group."""
    return {
        key: value
        for key, value in found.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


def scores(task: Task, metric: Metric, measured: Sequence[Measured]) -> Scores:
    """Return a task's values at all boundaries, and how to resample them.

    Args:
        task: The task.
        metric: The metric.
        measured: The values at each boundary.
    """
    ordered = sorted(measured, key=lambda each: each.boundary)
    documents = sorted(ordered[0].items)
    values = [each.value for each in ordered]
    resampled = None
    if documents and all(sorted(each.items) == documents for each in ordered):
        columns = [[each.items[document] for document in documents] for each in ordered]
        aggregate = task.aggregation().get(metric.name)
        resampled = statistic(metric.name, columns, values, aggregate)
    return Scores(
        [each.boundary for each in ordered],
        values,
        resampled,
        metric.higher_is_better,
        f"{metric.key} of {task.task_name}",
    )


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
    evaluation: Evaluation,
    scheduler: Scheduler,
    boundaries: Sequence[int],
    output: Path,
    metric: str | None,
) -> Scored:
    """Evaluate boundaries and write lm-eval's files of each.

    Args:
        evaluation: Evaluates one boundary.
        scheduler: Answers the requests.
        boundaries: The boundaries.
        output: Where to put the folders of the boundaries.
        metric: What to choose by; None for the first metric of each task.

    Raises:
        TaskError: A task has no such metric.
        OutputError: The files cannot be written.
    """
    found = Scored()
    for boundary in boundaries:
        results = evaluation.at(boundary, scheduler.at(boundary, boundaries))
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
