"""Resample the documents of logged samples and compute a metric on each draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from lm_eval.api.registry import (
    AGGREGATION_REGISTRY,
    METRIC_AGGREGATION_REGISTRY,
    get_aggregation,
)

from ..stats.bootstrap import Bootstrap, bootstrap
from ..stats.statistic import statistic
from .runs import TaskResult
from .samples import Documents, SamplesFiles


def documents_of(result: TaskResult, key: str, files: SamplesFiles) -> Documents:
    """Return the documents of a result under the filter of a metric; empty without samples."""
    if result.samples is None:
        return {}
    return files.documents(result.samples, key.partition(",")[2])


def resample(
    results: Sequence[TaskResult],
    key: str,
    files: SamplesFiles,
    *,
    higher_is_better: bool = True,
) -> tuple[Bootstrap, bool] | None:
    """Resample documents and compute a metric on each draw.

    Args:
        results: Results on the same documents; these become the columns.
        key: lm-eval's key of the metric, ``metric,filter``.
        files: The samples files.
        higher_is_better: The direction of the metric.

    Returns:
        The draws, and whether every document scored 1 or 0. None if there are no samples, fewer
        than two documents, or an undefined value on some draw; if the samples do not reproduce the
        reported values; or if the metric takes too long to compute.
    """
    metric = key.partition(",")[0]
    columns = [_logged_items(result, key, files) for result in results]
    if any(len(column) < 2 for column in columns):
        return None
    values = [result.values[key] for result in results]
    reproduced = statistic(metric, columns, values, _aggregation(results[0], metric))
    if reproduced is None:
        return None
    resampled = bootstrap(reproduced, higher_is_better=higher_is_better)
    # a metric that is undefined on some draws has no interval
    if resampled is None or not np.isfinite(resampled.draws).all():
        return None
    return resampled, reproduced.binary is not None


def all_binary(results: Sequence[TaskResult], key: str, files: SamplesFiles) -> bool:
    """Return whether a metric scored every document of all results 1 or 0."""
    return all(item in (0, 1) for result in results for item in _logged_items(result, key, files))


def _aggregation(result: TaskResult, metric: str) -> Callable[..., float] | None:
    """Return the aggregation function of a metric if it is one of lm-eval's own."""
    # fills the registries; for a name that lm-eval does not know, the call would warn
    get_aggregation("mean")
    name = result.aggregations.get(metric)
    # a task's own function is recorded as its source text, which is not in the registry
    function: Callable[..., float] | None = (
        METRIC_AGGREGATION_REGISTRY.get(metric, None)
        if name is None
        else AGGREGATION_REGISTRY.get(name, None)
    )
    return function


def _logged_items(result: TaskResult, key: str, files: SamplesFiles) -> list[Any]:
    """Return what lm-eval logged for a metric, in the order of ``doc_id``; empty if incomplete."""
    if result.group:
        return []
    metric = key.partition(",")[0]
    documents = documents_of(result, key, files)
    items = [documents[i].items.get(metric) for i in sorted(documents)]
    return [] if any(item is None for item in items) else items
