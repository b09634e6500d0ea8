"""Tiny models that answer requests as in a sweep, with a given engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from model_helpers import make

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM
from lm_eval_lora_boundary.sweeps.engines import Engines, find_engines
from lm_eval_lora_boundary.sweeps.progress import Progress
from lm_eval_lora_boundary.sweeps.scheduler import Scheduler
from lm_eval_lora_boundary.sweeps.store import AnswerStore

SCORES = ("loglikelihood", "loglikelihood_rolling")


@dataclass
class Answering:
    """A model whose requests are answered under several boundaries."""

    lm: SweepLM
    engines: Any
    scheduler: Scheduler
    boundaries: Sequence[int]

    def at(self, boundary: int, requests: list[Instance]) -> list[Any]:
        """Answer requests at a boundary, as in a sweep."""
        with self.lm.evaluated(boundary, self.scheduler.at(boundary, self.boundaries)):
            return list(getattr(self.lm, requests[0].request_type)(requests))


def answering(
    base: Path,
    adapter: Path,
    store: AnswerStore,
    *,
    boundaries: Sequence[int],
    engine: str = "auto",
    rows: int = 12,
    **settings: Any,
) -> Answering:
    """Return a model that answers under boundaries."""
    lm = SweepLM(str(base), peft=str(adapter), device="cpu", **({"dtype": "float32"} | settings))
    engines: Engines = find_engines(lm, engine)
    scheduler = Scheduler(engines, store, "test", rows, Progress(len))
    return Answering(lm, engines, scheduler, boundaries)


def separately(
    base: Path, adapter: Path, boundary: int, requests: list[Instance], **settings: Any
) -> list[Any]:
    """Answer requests as a run of `lm_eval --model lora_boundary,boundary=K` does.

    One by one: in a batch, lm-eval lets a response that holds a special token go on for as long
    as the others do.
    """
    settings = {"batch_size": 1} | settings
    lm = make(base, adapter, LoraBoundaryLM, boundary=boundary, **settings)
    return list(getattr(lm, requests[0].request_type)(requests, disable_tqdm=True))


def close(ours: Any, theirs: Any, tolerance: float = 1e-4) -> bool:
    """Return whether two answers are equal: strings exactly, log-likelihoods within 1e-4."""
    if isinstance(theirs, tuple):
        return close(ours[0], theirs[0], tolerance) and ours[1] == theirs[1]
    if isinstance(theirs, float):
        return abs(ours - theirs) <= tolerance * max(1.0, abs(theirs))
    return bool(ours == theirs)
