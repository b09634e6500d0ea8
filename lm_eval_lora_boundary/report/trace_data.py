"""The content of ``trace.json``, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
