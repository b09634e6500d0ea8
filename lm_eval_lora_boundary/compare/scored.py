"""What was logged of a metric in a run, as a function of documents that can be resampled."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from ..stats.statistic import Statistic, statistic
from ..stats.units import Units
from ..upstream.lm_eval import own_aggregation
from .runs import TaskResult
from .samples import Documents, Sample, SamplesFiles

Document = tuple[str, str]  # hashes of content and target
Aggregate = Callable[..., float]


@dataclass(frozen=True, eq=False)
class Scored:
    """The documents of one result that a metric was computed on.

    Attributes:
        metric: Name of the metric.
        reported: The value that lm-eval reported.
        samples: The documents, in the order of ``doc_id``.
        aggregate: The aggregation function of the metric, if it is known.
        cluster: Field of the documents that says which of them belong together.
    """

    metric: str
    reported: float
    samples: Sequence[Sample]
    aggregate: Aggregate | None
    cluster: str | None = None

    @cached_property
    def items(self) -> list[Any]:
        """What lm-eval logged for the metric, for every document."""
        return [sample.items[self.metric] for sample in self.samples]

    @cached_property
    def places(self) -> Mapping[Document, int]:
        """Where each document stands among the samples; of copies, the first."""
        places: dict[Document, int] = {}
        for place, sample in enumerate(self.samples):
            places.setdefault(sample.document, place)
        return places

    @cached_property
    def clusters(self) -> Mapping[Document, str] | None:
        """What each document belongs to; None if each stands alone, or if that is not known.

        A field that is the same in all documents says nothing, as in a sweep.
        """
        found = {sample.document: sample.cluster for sample in self.samples}
        known = {document: each for document, each in found.items() if each is not None}
        several = 1 < len(set(known.values())) < len(found)
        return known if several and len(known) == len(found) else None

    @property
    def copies(self) -> int:
        """How many documents are copies of others."""
        return len(self.samples) - len(self.places)

    @cached_property
    def effective(self) -> float:
        """How many different documents would have the same standard error (Kish 1965)."""
        sizes = Counter(sample.document for sample in self.samples).values()
        return float(len(self.samples) ** 2 / sum(size**2 for size in sizes))

    @cached_property
    def statistic(self) -> Statistic | None:
        """The metric of the documents; None if it is not the value that lm-eval reported."""
        return statistic(self.metric, [self.items], [self.reported], self.aggregate)

    def select(self, documents: Sequence[Document]) -> list[Any]:
        """Return what lm-eval logged for the metric of some documents."""
        return [self.items[self.places[document]] for document in documents]

    def value(self, documents: Sequence[Document]) -> float:
        """Return the metric of some documents, each counted once; NaN if it is not known."""
        if self.statistic is None:
            return math.nan
        counts = np.zeros((1, len(self.samples)), dtype=np.int64)
        counts[0, [self.places[document] for document in documents]] = 1
        return float(self.statistic.resample(counts)[0, 0])


class Evidence:
    """What runs logged, each file read once."""

    def __init__(self) -> None:
        """Start with nothing read."""
        self._files = SamplesFiles()
        self._scored: dict[tuple[Path, str, str | None], Scored] = {}

    def scored(self, result: TaskResult, key: str) -> Scored | None:
        """Return what was logged of a metric, whose key is ``metric,filter``.

        Documents that the task did not score by this metric are left out, as lm-eval leaves them
        out. Return None without usable samples.

        Raises:
            OutputError: The samples file is damaged.
        """
        if result.samples is None or result.group:
            return None
        place = (result.samples, key, result.cluster)
        if place not in self._scored:
            metric, _, filter_name = key.partition(",")
            documents = self._files.documents(result.samples, filter_name, result.cluster)
            self._scored[place] = Scored(
                metric,
                result.values[key],
                _with_metric(documents, metric),
                # of a task's own function, the source text is recorded, which is no name
                _aggregation(result, metric),
                result.cluster,
            )
        scored = self._scored[place]
        return scored if scored.samples else None

    def unusable(self, result: TaskResult) -> str | None:
        """Return why the samples of a result cannot be used; None if they can, or are missing.

        Raises:
            OutputError: The samples file is damaged.
        """
        if result.samples is None or result.group:
            return None
        return self._files.unusable(result.samples, result.cluster)


def units(runs: Sequence[Scored], documents: Sequence[Document]) -> Units:
    """Return what of some documents is drawn at random: the documents, or what they belong to."""
    known = next((run.clusters for run in runs if run.clusters is not None), None)
    clusters = None if known is None else [known[document] for document in documents]
    return Units(len(documents), clusters)


def together(runs: Sequence[Scored], documents: Sequence[Document]) -> Statistic | None:
    """Return the metric of several runs on documents that all answered, one column per run.

    Return None if the samples of a run do not give the value that lm-eval reported.
    """
    values = [run.value(documents) for run in runs]
    if not all(map(math.isfinite, values)):
        return None
    columns = [run.select(documents) for run in runs]
    return statistic(runs[0].metric, columns, values, runs[0].aggregate)


def is_binary(items: Sequence[Any]) -> bool:
    """Return whether every document is right (1) or wrong (0)."""
    return all(isinstance(item, (bool, int, float)) and item in (0, 1) for item in items)


def _with_metric(documents: Documents, metric: str) -> list[Sample]:
    """Return the documents that have a metric, in the order of ``doc_id``."""
    ordered = (documents[doc_id] for doc_id in sorted(documents))
    return [sample for sample in ordered if sample.items.get(metric) is not None]


def _aggregation(result: TaskResult, metric: str) -> Aggregate | None:
    """Return the aggregation function of a metric if it is one of lm-eval's own."""
    function = own_aggregation(metric, result.aggregations.get(metric))
    return None if function is None else partial(_aggregated, function)


def _aggregated(function: Aggregate, items: Sequence[Any]) -> float:
    """Return the value of a metric; NaN if what was logged is not what its function takes."""
    try:
        return float(function(items))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return math.nan
