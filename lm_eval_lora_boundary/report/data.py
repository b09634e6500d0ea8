"""The content of ``sweep.json`` and ``trace.json``, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BASE = -1


@dataclass(frozen=True)
class Row:
    """A task's statistics at one boundary; None where one is not available.

    Attributes:
        value: The metric.
        delta_full: Its difference to the whole adapter; ``ci_low``, ``ci_high`` and ``p_value`` are
            its 95 % interval and two-sided p-value.
        p_holm: The p-value, corrected for all boundaries.
        delta_base: The difference to the base model, with interval and p-value in ``base_…``.
        win_rate: How often the boundary is best when documents are resampled.
        loss_risk: How often it is then worse than the whole adapter.
        simultaneous_low: Lower end of the interval that holds for all boundaries at once.
        documents: Number of documents.
        metrics: All values of the task, by lm-eval's key.
    """

    boundary: int
    value: float | None = None
    stderr: float | None = None
    delta_full: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    delta_base: float | None = None
    base_ci_low: float | None = None
    base_ci_high: float | None = None
    base_p_value: float | None = None
    win_rate: float | None = None
    loss_risk: float | None = None
    simultaneous_low: float | None = None
    simultaneous_high: float | None = None
    documents: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Optimism:
    """How much choosing on the same documents inflates the best boundary's score.

    Attributes:
        value: By how much, never negative.
        corrected: The score without that.
        p_value: Of the best against the whole adapter, corrected for the choice.
    """

    value: float | None
    corrected: float | None
    p_value: float | None


@dataclass(frozen=True)
class Confirmation:
    """The best boundary on documents that were not used to choose it.

    Attributes:
        rows: The best boundary, the whole adapter and the base model, ascending.
    """

    split: str
    documents: int | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Layer:
    """Probability of the gold tokens, read out after one layer: statistics over documents."""

    layer: int
    mean: float | None = None
    median: float | None = None
    q25: float | None = None
    q75: float | None = None


@dataclass(frozen=True)
class Trace:
    """A task's trace.

    Attributes:
        layers: One entry per layer.
        models: The same for other cuts of the adapter, by ``full``, ``base`` or ``boundary=K``.
        candidate: Layer at which the probability rises sharply; None if there is none.
        verdict: What the trace concludes, in words.
    """

    layers: tuple[Layer, ...]
    models: Mapping[str, tuple[Layer, ...]]
    candidate: int | None
    candidate_low: int | None
    candidate_high: int | None
    verdict: str
    documents: int | None


@dataclass(frozen=True)
class TaskFound:
    """The result of a sweep on one task.

    Attributes:
        metric: lm-eval's key of the metric that boundaries are chosen by.
        split: Split of the documents; None for what lm-eval evaluates.
        rows: One per boundary, ascending.
        best: The best boundary; the whole adapter if there was no reason to choose.
        choice: The recommended boundary; the whole adapter where it is not the best one.
        smallest_equivalent: The smallest one that is not significantly worse than the best.
        collapse: Every scored boundary from 0 up to this one is significantly worse than the
            whole adapter.
        same_documents: Whether the best was chosen on the documents of ``rows``.
        optimism: How much that choice inflates its score.
        test: The confirmation on other documents.
        directions: By metric, whether higher is better, where that is known.
        not_chosen: Why there was no reason to choose a boundary; None if there was.
    """

    name: str
    metric: str
    higher_is_better: bool
    split: str | None
    documents: int | None
    rows: tuple[Row, ...]
    best: int
    choice: int
    smallest_equivalent: int | None
    collapse: int | None
    same_documents: bool
    optimism: Optimism | None
    test: Confirmation | None
    trace: Trace | None
    directions: Mapping[str, bool] = field(default_factory=dict)
    not_chosen: str | None = None

    @property
    def best_name(self) -> str:
        """What ``best`` is called."""
        return "best boundary" if self.not_chosen is None else "whole adapter"

    @property
    def metric_keys(self) -> list[str]:
        """lm-eval's keys of the task's metrics; first the one to choose by."""
        keys = dict.fromkeys(key for row in self.rows for key in row.metrics)
        others = [
            key
            for key in keys
            if "," in key and not key.partition(",")[0].endswith("_stderr") and key != self.metric
        ]
        return [self.metric, *others]

    def higher(self, key: str) -> bool | None:
        """Return whether higher is better for a metric; None if that is not known."""
        if key == self.metric:
            return self.higher_is_better
        return self.directions.get(key.partition(",")[0])

    @property
    def collapsed(self) -> list[int]:
        """The scored boundaries from 0 up to ``collapse``, ascending."""
        if self.collapse is None:
            return []
        return [row.boundary for row in self.rows if 0 <= row.boundary <= self.collapse]

    def row(self, boundary: int | None) -> Row | None:
        """Return the statistics at a boundary; None if it was not scored."""
        return next((row for row in self.rows if row.boundary == boundary), None)


@dataclass(frozen=True)
class SweepFound:
    """The result of a sweep.

    Attributes:
        signature: What was run, in one line.
        groups: By group, lm-eval's values at each boundary.
        race: What the race dropped; empty without a race.
    """

    signature: str
    settings: Mapping[str, Any]
    engine: str
    tasks: tuple[TaskFound, ...]
    groups: Mapping[str, tuple[Row, ...]]
    race: Mapping[str, Any]
