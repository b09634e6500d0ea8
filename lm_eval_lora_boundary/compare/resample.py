"""From logged samples to a metric of documents drawn anew."""

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
    """Return the documents of a result under a metric's filter, none if they were not logged."""
    if result.samples is None:
        return {}
    return files.documents(result.samples, key.partition(",")[2])


def resampled(
    results: Sequence[TaskResult],
    key: str,
    files: SamplesFiles,
    *,
    higher_is_better: bool = True,
) -> tuple[Bootstrap, bool] | None:
    """Draw documents anew and return what becomes of a metric.

    Args:
        results: Results on the same documents, the columns.
        key: lm-eval's key of the metric, ``metric,filter``.
        files: Reads samples.
        higher_is_better: Whether large values are good.

    Returns:
        The draws, and whether every document is right or wrong, 1 or 0. None if documents were
        not logged, are fewer than two, or do not explain the values, or if the metric takes too
        long to compute.
    """
    metric = key.partition(",")[0]
    columns = [_items(result, key, files) for result in results]
    if any(len(column) < 2 for column in columns):
        return None
    values = [result.values[key] for result in results]
    made = statistic(metric, columns, values, _aggregation(results[0], metric))
    if made is None:
        return None
    drawn = bootstrap(made, higher_is_better=higher_is_better)
    # a metric that some draws of documents leave undefined has no interval
    if drawn is None or not np.isfinite(drawn.draws).all():
        return None
    return drawn, made.binary is not None


def right_or_wrong(results: Sequence[TaskResult], key: str, files: SamplesFiles) -> bool:
    """Tell whether a metric gave every document of all results 1 or 0."""
    return all(item in (0, 1) for result in results for item in _items(result, key, files))


def _aggregation(result: TaskResult, metric: str) -> Callable[..., float] | None:
    """Return what aggregates a metric, if it is one of lm-eval's own functions."""
    # fills the registries; asked for a name that it does not know, lm-eval would warn
    get_aggregation("mean")
    name = result.aggregations.get(metric)
    # a function of a task stands there as its source text
    found: Callable[..., float] | None = (
        METRIC_AGGREGATION_REGISTRY.get(metric, None)
        if name is None
        else AGGREGATION_REGISTRY.get(name, None)
    )
    return found


def _items(result: TaskResult, key: str, files: SamplesFiles) -> list[Any]:
    """Return what the metric keeps of every document, in the order of ``doc_id``."""
    if result.group:
        return []
    documents = documents_of(result, key, files)
    items = [documents[i].items.get(key.partition(",")[0]) for i in sorted(documents)]
    return [] if any(item is None for item in items) else items
