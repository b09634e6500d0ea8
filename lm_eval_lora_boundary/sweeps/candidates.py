"""Sweep only a window of boundaries around the one that a trace suggests."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..traces.run import run as run_trace
from ..traces.settings import TraceSettings
from .settings import SweepSettings

logger = logging.getLogger("lm_eval.lora_boundary")

WINDOW = 3  # layers on either side of the trace's interval
_OWN = ("boundaries", "document")


def narrowed(settings: SweepSettings, output: Path) -> SweepSettings:
    """Trace the gold answers and return settings with a window that the curves speak for.

    In it are the base model, the whole adapter, and those from ``WINDOW`` layers below the lower
    end of the trace's interval to as many above its upper end, for every task. If a task's curve
    shows no single boundary, all are kept.

    Args:
        settings: A sweep with ``candidates="trace"``.
        output: Its folder; ``trace.json`` and the trace's plots are written there.

    Raises:
        LoraBoundaryError: As a trace, or boundaries are given, too.
    """
    names = TraceSettings.__dataclass_fields__.keys() - set(_OWN)
    shared: dict[str, Any] = {name: getattr(settings, name) for name in names}
    # rows of a sweep are documents × boundaries; a trace chooses its own batches
    found = run_trace(TraceSettings(**(shared | {"batch_size": None})), output)
    for task, entry in found["tasks"].items():
        logger.info("trace of %s: %s", task, entry["verdict"])
    boundaries = set()
    for entry in found["tasks"].values():
        top = len(entry["layers"]) - 1
        boundaries |= {-1, top}
        if entry["candidate"] is None:
            return settings
        low, high = entry["candidate_low"] - WINDOW, entry["candidate_high"] + WINDOW
        boundaries |= set(range(max(-1, low), min(top, high) + 1))
    chosen = ",".join(map(str, sorted(boundaries)))
    return replace(settings, window=chosen)
