"""The metric that a task's boundaries are chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lm_eval.api.task import Task

from ..errors import TaskError
from ..upstream.lm_eval import directions, filter_names, full_name, is_lm_eval_mean


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


# of the gold answers, which the task of a user's own rows always has
LIKELIHOOD = Metric("loglikelihood", "none", higher_is_better=True, mean=True)


def has_likelihood(task: Task, metric: Metric) -> bool:
    """Return whether a task has the log-likelihood of the gold answers besides another metric."""
    return metric.name != LIKELIHOOD.name and LIKELIHOOD.name in task.aggregation()


def check_metric(task: Task, requested: str | None) -> None:
    """Refuse, before anything is answered, a metric that cannot be used to choose.

    Args:
        task: The task.
        requested: ``metric``, ``metric,filter``, or None for the task's first.

    Raises:
        TaskError: The task has no such metric, or does not say which way is better.
    """
    ways = directions(task)
    known = [name for name in task.aggregation() if ways.get(name) is not None]
    filters = filter_names(task)
    name, _, filter_name = (requested or "").partition(",")
    if not known:
        raise TaskError(
            f"{task.task_name} does not say for any of its metrics whether higher is better, so no "
            "boundary can be chosen; add higher_is_better to its YAML"
        )
    if name in ways and ways[name] is None:
        raise TaskError(
            f"metric={requested}: {task.task_name} does not say whether higher is better; expected "
            f"one of {', '.join(known)}"
        )
    if name and name not in known:
        raise TaskError(
            f"metric={requested} is not a metric of {task.task_name}; expected one of "
            f"{', '.join(known)}"
        )
    if filter_name and filter_name not in filters:
        choices = ", ".join(f"{name or known[0]},{each}" for each in filters)
        raise TaskError(
            f"metric={requested}: {task.task_name} has no filter {filter_name}; expected one of "
            f"{choices}"
        )


def is_mean(task: Task, requested: str | None) -> bool:
    """Return whether the metric to choose by is a mean over documents; nothing is scored yet."""
    name = (requested or "").partition(",")[0]
    ways, aggregations = directions(task), task.aggregation()
    known = [each for each in aggregations if ways.get(each) is not None]
    return is_lm_eval_mean(aggregations.get(name or known[0]))


def choose_metric(task: Task, results: Mapping[str, Any], requested: str | None) -> Metric:
    """Return the metric to choose boundaries by.

    Args:
        task: The task.
        results: lm-eval's results under any cut.
        requested: A metric that passed :func:`check_metric`.
    """
    ways = directions(task)
    name, _, filter_name = (requested or "").partition(",")
    scored = [key.split(",", 1) for key in results["results"][full_name(task)] if "," in key]
    # the task may not have scored any answer under this cut
    others = [[each, filter_] for filter_ in filter_names(task) for each in task.aggregation()]
    chosen, chosen_filter = next(
        key
        for key in [*scored, *others]
        if ways.get(key[0]) is not None and name in ("", key[0]) and filter_name in ("", key[1])
    )
    average = is_lm_eval_mean(task.aggregation().get(chosen))
    return Metric(chosen, chosen_filter, bool(ways[chosen]), average)
