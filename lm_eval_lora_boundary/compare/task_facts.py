"""What lm-eval's results files say about tasks and their metrics, beside the values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_SOURCE = re.compile(r"(?:\s*@.*\n)*\s*def (\w+)\(")  # of a function


def own_name(content: Mapping[str, Any], task: str) -> str:
    """Return the name of a task without its group, which lm-eval 0.5 puts in front.

    A task that only its group defines keeps its whole name.

    Args:
        content: Content of a results file.
        task: Key of a task or group in it.
    """
    own = mapping(mapping(content, "configs"), task).get("task")
    return own if isinstance(own, str) and task.endswith(f"::{own}") else task


def directions(content: Mapping[str, Any], task: str) -> dict[str, bool | None]:
    """Return whether a higher value is better, by metric; None if that is not said.

    lm-eval 0.5 says so of metrics for which the task's YAML says null, and of groups of such tasks.

    Args:
        content: Content of a results file.
        task: Key of a task or group in it.
    """
    members = mapping(content, "group_subtasks").get(task)
    unsaid = {
        metric
        for each in (task, *(members if isinstance(members, list) else ()))
        if isinstance(each, str)
        for metric in _unsaid(mapping(mapping(content, "configs"), each))
    }
    return {
        metric: higher if isinstance(higher, bool) and metric not in unsaid else None
        for metric, higher in mapping(mapping(content, "higher_is_better"), task).items()
    }


def aggregations(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the name of the aggregation function of each metric in a task's configuration."""
    return {
        _name(metric): str(metric["aggregation"])
        for metric in _metrics(config)
        if {"metric", "aggregation"} <= metric.keys()
    }


def cluster(config: Mapping[str, Any]) -> str | None:
    """Return the field by which a task's configuration says that documents belong together."""
    field = mapping(config, "metadata").get("cluster")
    return field if isinstance(field, str) else None


def mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a JSON object inside another; empty if it is missing or not an object."""
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _unsaid(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the metrics of a task's configuration whose direction is null."""
    for metric in _metrics(config):
        if metric.get("higher_is_better", True) is None:
            yield _name(metric)


def _name(metric: Mapping[str, Any]) -> str:
    """Return a metric's name; where the YAML names a function, the results have its source."""
    text = str(metric.get("metric"))
    source = _SOURCE.match(text)
    return text if source is None else source[1]


def _metrics(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a task's configuration says about its metrics."""
    listed = config.get("metric_list")
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
