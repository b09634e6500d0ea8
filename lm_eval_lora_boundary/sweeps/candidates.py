"""The boundaries that a trace suggests, for ``candidates=trace``."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ..errors import ModelError
from ..harness.settings import EvaluationSettings
from ..traces.layer_map import boundaries_to_try
from ..traces.run import run as run_trace
from ..traces.settings import TraceSettings
from .settings import SweepSettings

logger = logging.getLogger("lm_eval.lora_boundary")

WINDOW = 3  # layers on either side of the trace's interval


def traced_boundaries(
    settings: SweepSettings,
    output: Path,
    model: PreTrainedModel | None = None,
    *,
    force: bool = False,
) -> str | None:
    """Trace the gold answers and return the boundaries that the curves suggest.

    These are the base model, the whole adapter, and for every task the layers from ``WINDOW``
    below the trace's interval to ``WINDOW`` above it; with ``candidates=gradient``, for every task
    the few of :func:`.boundaries_to_try`.

    Args:
        settings: The sweep.
        output: Its folder; ``trace.json`` and the trace's plots are written there.
        model: A loaded model, which is refused.
        force: Replace another trace in the folder.

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
    trace = TraceSettings(**shared, gradient=by_gradient)
    # the sweep prints the notes
    tasks = run_trace(trace, output, prints_notes=False, force=force)["tasks"]
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
