"""Record the chosen boundary in the adapter folder, for ``boundary=auto``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from ..cuts.adapter_folder import RECORD
from ..files import write_text
from ..harness.sweep_lm import SweepLM
from ..stats.recommendation import advise
from .settings import SweepSettings

logger = logging.getLogger("lm_eval.lora_boundary")

_JUDGED = ("value", "stderr", "delta_full", "ci_low", "ci_high", "p_value")


def save(lm: SweepLM, summary: Mapping[str, Any], settings: SweepSettings) -> None:
    """Record the boundary that a sweep of one task speaks for.

    This is its best one, unless the test split refuted it: then it is the whole adapter. Nothing
    is recorded if the boundaries could not be told apart or compared.

    Args:
        lm: The model.
        summary: The content of ``sweep.json``.
        settings: The sweep.

    Raises:
        OutputError: The folder cannot be written.
    """
    ((task, found),) = summary["tasks"].items()
    path = lm.adapter.path / RECORD
    if found.get("not_chosen"):
        stays = f"; the earlier record in {path} stays" if path.exists() else ""
        logger.warning("no boundary is recorded: %s%s", found["not_chosen"], stays)
        return
    judged = found["test"] or found  # on documents that it was not chosen by, if there are any
    advice = advise(found, lm.layers - 1)
    (row,) = (row for row in judged["boundaries"] if row["boundary"] == advice.boundary)
    record = {
        "boundary": advice.boundary,
        "best": found["best"],
        "reason": advice.reason,
        "adapter_sha256": lm.adapter.sha256,
        "adapter_config_sha256": lm.adapter.config_sha256,
        "base": settings.pretrained,
        "base_weights_sample": lm.base_sample,
        "task": task,
        "metric": found["metric"],
        "split": judged["split"],
        "documents": judged["documents"],
        "selection": found["selection"],
        **{name: row[name] for name in _JUDGED},
        "smallest_equivalent": found["smallest_equivalent"],
        "signature": summary["signature"],
    }
    write_text(path, json.dumps(record, indent=2) + "\n")
    why = f": {advice.reason}" if advice.reason else ""
    logger.info("boundary %d recorded in %s%s", advice.boundary, path, why)
