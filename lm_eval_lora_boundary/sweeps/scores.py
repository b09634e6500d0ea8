"""The values of tasks under every cut, taken from lm-eval's results."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lm_eval.api.task import Task

from ..cuts.keep import Cut
from ..harness.evaluation import Evaluation
from ..stats.scores import Scores
from ..stats.statistic import statistic
from .metric import LIKELIHOOD, Metric, choose_metric, has_likelihood
from .scheduler import Scheduler


@dataclass(frozen=True)
class Measured:
    """A task's values under one cut.

    Attributes:
        cut: The cut.
        value: The metric over the documents that the task could score; NaN if there are none.
        stderr: lm-eval's standard error; None where it has none.
        items: What lm-eval keeps of each document for the metric, by ``doc_id``: a number, or
            reference and response for corpus metrics.
        metrics: All values of the task, by lm-eval's key.
        responses: Hash of what the model answered.
    """

    cut: Cut
    value: float
    stderr: float | None
    items: dict[int, Any] = field(repr=False)
    metrics: dict[str, Any] = field(repr=False)
    responses: str = ""


@dataclass(frozen=True)
class TaskScores:
    """What a task scored.

    Attributes:
        metric: The metric to choose by.
        measured: The values under each cut, from the smallest to the largest.
        paired: The metric's values in a form that can be resampled.
        likelihood: The log-likelihood of the gold answers, if the task has it besides the metric.
    """

    metric: Metric
    measured: Sequence[Measured]
    paired: Scores
    likelihood: TaskScores | None = None


@dataclass(frozen=True)
class Scored:
    """What all tasks and groups scored.

    Attributes:
        tasks: The scores of each task.
        groups: lm-eval's numbers for each group, a row per boundary that was scored.
    """

    tasks: Mapping[str, TaskScores]
    groups: Mapping[str, list[dict[str, Any]]]


def score(
    evaluation: Evaluation,
    scheduler: Scheduler,
    cuts: Sequence[Cut],
    output: Path,
    metric: str | None,
) -> Scored:
    """Evaluate cuts and write lm-eval's files for each of them.

    Raises:
        OutputError: The files cannot be written.
    """
    tasks = evaluation.tasks.tasks
    metrics: dict[str, Metric] = {}
    measured: dict[str, list[Measured]] = defaultdict(list)
    likely: dict[str, list[Measured]] = defaultdict(list)
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    clusters: dict[str, dict[int, str]] = {}
    for cut in cuts:
        results = evaluation.at(cut, scheduler.at(cut, cuts))
        if not metrics:
            metrics = {name: choose_metric(task, results, metric) for name, task in tasks.items()}
        for name in tasks:
            measured[name].append(measure(name, metrics[name], cut, results))
            if has_likelihood(tasks[name], metrics[name]):
                likely[name].append(measure(name, LIKELIHOOD, cut, results))
            field = evaluation.tasks.clusters.get(name)
            if field is not None and name not in clusters:
                clusters[name] = _clusters(results["samples"][name], field)
        for group, values in results.get("groups", {}).items():
            if cut.boundary is not None:
                row = {"boundary": cut.boundary, "metrics": _numbers(values)}
                groups[group].append(row)
        evaluation.write(output, cut, results)
    found = {}
    for name, task in tasks.items():
        together = clusters.get(name)
        scores = task_scores(task, metrics[name], measured[name], together)
        if name in likely:
            also = task_scores(task, LIKELIHOOD, likely[name], together)
            scores = replace(scores, likelihood=also)
        found[name] = scores
    return Scored(found, groups)


def _clusters(samples: Sequence[Mapping[str, Any]], field: str) -> dict[int, str]:
    """Return what each document belongs to."""
    return {sample["doc_id"]: repr(sample["doc"].get(field)) for sample in samples}


def measure(task: str, metric: Metric, cut: Cut, results: Mapping[str, Any]) -> Measured:
    """Return a task's values under a cut."""
    values, samples = results["results"][task], results["samples"][task]
    stderr = values.get(f"{metric.name}_stderr,{metric.filter}")
    return Measured(
        cut,
        float(values.get(metric.key, math.nan)),
        float(stderr) if _is_number(stderr) else None,
        {
            sample["doc_id"]: sample[metric.name]
            for sample in samples
            if sample["filter"] == metric.filter and metric.name in sample
        },
        _numbers(values),
        _hash(samples),
    )


def task_scores(
    task: Task,
    metric: Metric,
    measured: Sequence[Measured],
    clusters: Mapping[int, str] | None = None,
) -> TaskScores:
    """Return what a task scored, and how to resample it.

    Args:
        task: The task.
        metric: The metric to choose by.
        measured: The values under each cut, from the smallest to the largest.
        clusters: What each document belongs to, by ``doc_id``; None if each stands alone.
    """
    values = [each.value for each in measured]
    documents = sorted(measured[0].items)
    resampled = None
    if documents and all(sorted(each.items) == documents for each in measured):
        columns = [[each.items[document] for document in documents] for each in measured]
        aggregate = task.aggregation().get(metric.name)
        resampled = statistic(metric.name, columns, values, aggregate)
    cuts = [each.cut.name for each in measured]
    name = f"{metric.key} of {task.task_name}"
    together = None if clusters is None else [clusters[document] for document in documents]
    paired = Scores(cuts, values, resampled, metric.higher_is_better, name, together)
    return TaskScores(metric, measured, paired)


def _hash(samples: Sequence[Mapping[str, Any]]) -> str:
    """Return a hash of the answers in samples."""
    answers = sorted((sample["doc_id"], repr(sample["resps"])) for sample in samples)
    return hashlib.sha256(repr(answers).encode("utf-8", "surrogatepass")).hexdigest()


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers among lm-eval's results of a task or group."""
    return {key: value for key, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
