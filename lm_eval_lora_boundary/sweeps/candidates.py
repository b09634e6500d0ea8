"""Which boundaries a sweep scores."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..cuts.boundaries import parse_boundaries
from ..errors import AdapterError, ModelError
from ..harness.settings import EvaluationSettings
from ..harness.sweep_lm import SweepLM
from ..traces.layer_map import boundaries_to_try
from ..traces.run import run as run_trace
from ..traces.settings import TraceSettings
from .settings import SweepSettings

logger = logging.getLogger("lm_eval.lora_boundary")

WINDOW = 3  # layers on either side of the trace's interval


def traced_boundaries(
    settings: SweepSettings, output: Path, model: PreTrainedModel | None = None
) -> str | None:
    """Trace the gold answers and return the boundaries that the curves suggest.

    These are the base model, the whole adapter, and for every task the layers from ``WINDOW``
    below the trace's interval to ``WINDOW`` above it; with ``candidates=gradient``, for every task
    the few of :func:`.boundaries_to_try`.

    Args:
        settings: The sweep.
        output: Its folder; ``trace.json`` and the trace's plots are written there.
        model: A loaded model, which is refused.

    Returns:
        A list such as ``-1,5,6,29``; None if no trace was asked for, or if a task's curve has no
        candidate, so that all boundaries must be scored. A gradient always suggests some.

    Raises:
        LoraBoundaryError: As a trace.
    """
    if settings.candidates == "all":
        return None
    if model is not None:
        raise ModelError(
            f"candidates={settings.candidates} loads the model twice; give its name or folder"
        )
    shared: dict[str, Any] = {
        each.name: getattr(settings, each.name)
        for each in fields(EvaluationSettings)
        if each.name != "batch_size"  # a row of a sweep is a document at one boundary
    }
    by_gradient = settings.candidates == "gradient"
    tasks = run_trace(TraceSettings(**shared, gradient=by_gradient), output)["tasks"]
    boundaries: set[int] = set()
    if by_gradient:
        for task, entry in tasks.items():
            suggested = boundaries_to_try(entry["gradient"])
            logger.info("gradient of %s: boundaries %s", task, ", ".join(map(str, suggested)))
            boundaries.update(suggested)
        return ",".join(map(str, sorted(boundaries)))
    for task, entry in tasks.items():
        logger.info("trace of %s: %s", task, entry["verdict"])
    for entry in tasks.values():
        if entry["candidate"] is None:
            return None
        full = len(entry["layers"]) - 1
        low, high = entry["candidate_low"] - WINDOW, entry["candidate_high"] + WINDOW
        boundaries |= {-1, full, *range(max(-1, low), min(full, high) + 1)}
    return ",".join(map(str, sorted(boundaries)))


def boundaries_to_score(
    lm: SweepLM, settings: SweepSettings, traced: str | None = None
) -> list[int]:
    """Return the boundaries to score, ascending; of ``all``, without those that equal the base.

    The base model and the whole adapter are always among them: the others are compared with these.

    Raises:
        BoundaryError: A boundary is not one of the model's.
        AdapterError: A boundary was given that cannot be scored.
    """
    boundaries = parse_boundaries(traced or settings.boundaries, lm.layers)
    if settings.boundaries.strip() == "all":
        same = [b for b in boundaries if b >= 0 and not lm.cut.kept(b)]
        if same:
            logger.info("boundaries up to %d keep no module: they equal the base model", max(same))
        boundaries = [b for b in boundaries if b not in same]
    lm.check(boundaries)
    return usable(lm, {*boundaries, -1, lm.layers - 1})


def usable(lm: SweepLM, boundaries: Iterable[int]) -> list[int]:
    """Return boundaries, ascending, without the base model if it lacks rows for some tokens."""
    ascending = sorted(boundaries)
    try:
        lm.check(ascending)
    except AdapterError as error:
        logger.info("the base model is left out: %s", error)
        return [boundary for boundary in ascending if boundary >= 0]
    return ascending
