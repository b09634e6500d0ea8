"""What ``sweep.json`` and ``trace.json`` say, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BASE = -1
# names of models in trace.json
TRACED_FULL = "full"
TRACED_BASE = "base"


@dataclass(frozen=True)
class Row:
    """A task's statistics at one boundary; None where one is not available.

    Attributes:
        boundary: The boundary.
        value: The metric.
        stderr: Its standard error.
        delta_full: Its difference to the whole adapter.
        ci_low: Lower end of the difference's 95 % interval.
        ci_high: Its upper end.
        p_value: Two-sided, of no difference to the whole adapter.
        p_holm: The same, corrected for all boundaries.
        delta_base: Difference to the base model.
        base_ci_low: Lower end of that difference's 95 % interval.
        base_ci_high: Its upper end.
        base_p_value: Two-sided, of no difference to the base model.
        win_rate: Share of resampled document sets in which the boundary is best.
        loss_risk: Share of them in which it is worse than the whole adapter.
        simultaneous_low: Lower end of the interval that holds for all boundaries at once.
        simultaneous_high: Its upper end.
        documents: Number of documents that the value is of.
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
    """What choosing on the same documents does to the best boundary's numbers.

    Attributes:
        value: By how much the metric is flattered, never negative.
        corrected: The metric without that.
        p_value: Of best against the whole adapter, corrected for the choice.
    """

    value: float | None
    corrected: float | None
    p_value: float | None


@dataclass(frozen=True)
class Confirmation:
    """The chosen boundary on documents that the choice did not see.

    Attributes:
        split: Name of their split.
        documents: Their number; None if it is not recorded.
        rows: Best, whole adapter and base model, ascending.
    """

    split: str
    documents: int | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Layer:
    """Probability of the gold tokens, read out after one layer.

    Attributes:
        layer: The layer.
        mean: Mean over documents.
        median: Median over documents.
        q25: Lower quartile.
        q75: Upper quartile.
    """

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
        candidate: Layer at which the probability rises sharply; None if there is no such.
        candidate_low: Lower end of its interval.
        candidate_high: Its upper end.
        verdict: What the trace concludes, in words.
        documents: Number of documents.
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
    """What a sweep found on one task.

    Attributes:
        name: The task.
        metric: lm-eval's key of the metric that boundaries are chosen by.
        higher_is_better: Which way is better.
        split: Split of the documents; None for what lm-eval evaluates.
        documents: Their number; None if it is not recorded.
        rows: One per boundary, ascending.
        best: The best boundary; the whole adapter if none was chosen.
        not_chosen: Why no boundary was chosen; None if one was.
        smallest_equivalent: The smallest one that cannot be told from the best.
        collapse: Every boundary that was scored, from 0 up to this one, is significantly worse
            than the whole adapter.
        same_documents: Whether the best was chosen on the documents of ``rows``.
        optimism: What that choice does to the numbers.
        test: The confirmation on other documents.
        trace: The trace of the same task.
        directions: Of each metric that says so, whether more of it is better.
    """

    name: str
    metric: str
    higher_is_better: bool
    split: str | None
    documents: int | None
    rows: tuple[Row, ...]
    best: int
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
        """lm-eval's keys of the task's metrics, the one to choose by first."""
        keys = dict.fromkeys(key for row in self.rows for key in row.metrics)
        others = [
            key
            for key in keys
            if "," in key and not key.partition(",")[0].endswith("_stderr") and key != self.metric
        ]
        return [self.metric, *others]

    def higher(self, key: str) -> bool | None:
        """Return whether more of a metric is better; None if that is not known."""
        if key == self.metric:
            return self.higher_is_better
        return self.directions.get(key.partition(",")[0])

    @property
    def collapsed(self) -> list[int]:
        """The boundaries that were scored from 0 up to ``collapse``, ascending."""
        if self.collapse is None:
            return []
        return [row.boundary for row in self.rows if 0 <= row.boundary <= self.collapse]

    def row(self, boundary: int | None) -> Row | None:
        """Return the statistics at a boundary; None if it was not scored."""
        return next((row for row in self.rows if row.boundary == boundary), None)


@dataclass(frozen=True)
class SweepFound:
    """What a sweep found.

    Attributes:
        signature: What was run, in one line.
        settings: Settings of the sweep.
        engine: Engine of the sweep.
        tasks: The tasks.
        groups: By group, lm-eval's values at each boundary.
        race: What the race dropped; empty without a race.
    """

    signature: str
    settings: Mapping[str, Any]
    engine: str
    tasks: tuple[TaskFound, ...]
    groups: Mapping[str, tuple[Row, ...]]
    race: Mapping[str, Any]
