"""What a sweep found: ``sweep.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lm_eval.api.metrics import mean
from lm_eval.api.task import Task

from ..errors import TaskError
from ..stats import paired_bootstrap

_NUMBERS = (int, float, np.number, np.bool_)


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
        value: Value of the metric over all documents.
        stderr: lm-eval's standard error; None where it has none.
        documents: The metric for every document, by ``doc_id``; empty for corpus metrics.
        metrics: All of the task's values, by lm-eval's key.
    """

    boundary: int
    value: float
    stderr: float | None
    documents: dict[int, float]
    metrics: dict[str, Any] = field(repr=False)


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
    stderr = found.get(f"{metric.name}_stderr,{metric.filter}")
    documents = {
        sample["doc_id"]: sample[metric.name]
        for sample in results["samples"][task]
        if sample["filter"] == metric.filter and isinstance(sample.get(metric.name), _NUMBERS)
    }
    return Measured(
        boundary,
        float(found[metric.key]),
        float(stderr) if isinstance(stderr, (int, float)) and math.isfinite(stderr) else None,
        {key: float(value) for key, value in documents.items()},
        numbers(found),
    )


def numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """Return what is a number among lm-eval's results of a task or group."""
    return {
        key: value
        for key, value in found.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


def summarise(metric: Metric, measured: Sequence[Measured], full: int) -> dict[str, Any]:
    """Return what ``sweep.json`` says about a task.

    ``ci_low``, ``ci_high`` and ``p_value`` are those of the difference to the whole adapter,
    ``smallest_equivalent`` is the smallest boundary that the best is not significantly better
    than. All are for one boundary at a time, on the documents that the best was chosen on.

    Args:
        metric: The metric.
        measured: The values at each boundary, on the same documents.
        full: The boundary that keeps the whole adapter.
    """
    ordered = sorted(measured, key=lambda each: each.boundary)
    whole = next((each for each in ordered if each.boundary == full), None)
    sign = 1 if metric.higher_is_better else -1
    # max takes the first of equals: the smaller boundary
    best = max(
        ordered, key=lambda each: sign * each.value if math.isfinite(each.value) else -math.inf
    )
    paired = _paired(metric, ordered, full)
    enough = [each.boundary for each in ordered if paired and paired[each.boundary].pop("equal")]
    return {
        "metric": metric.key,
        "higher_is_better": metric.higher_is_better,
        "boundaries": [
            {
                "boundary": each.boundary,
                "value": each.value if math.isfinite(each.value) else None,
                "stderr": each.stderr,
                "delta_full": None if whole is None else each.value - whole.value,
                **(paired.get(each.boundary) or dict.fromkeys(_PAIRED)),
                "metrics": each.metrics,
            }
            for each in ordered
        ],
        "best": best.boundary,
        "smallest_equivalent": min(enough, default=None),
    }


_PAIRED = ("ci_low", "ci_high", "p_value", "win_rate")


def _paired(metric: Metric, measured: Sequence[Measured], full: int) -> dict[int, dict[str, Any]]:
    """Return paired statistics by boundary; nothing where they are not available.

    That is: for metrics that are no mean over documents, fewer than two of these, or a sweep
    without the whole adapter.
    """
    boundaries = [each.boundary for each in measured]
    documents = sorted(measured[0].documents)
    same = all(sorted(each.documents) == documents for each in measured)
    if not metric.mean or not same or len(documents) < 2 or full not in boundaries:
        return {}
    values = np.array([[each.documents[doc] for each in measured] for doc in documents])
    if not np.isfinite(values).all():
        return {}
    found = paired_bootstrap(
        values, boundaries.index(full), higher_is_better=metric.higher_is_better
    )
    return {
        boundary: {
            "ci_low": float(found.ci_low[i]),
            "ci_high": float(found.ci_high[i]),
            "p_value": float(found.p_value[i]),
            "win_rate": float(found.win_rate[i]),
            "equal": bool(found.not_worse[i]),
        }
        for i, boundary in enumerate(boundaries)
    }
