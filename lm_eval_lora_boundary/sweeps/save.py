"""Record the choice in the adapter folder, for ``boundary=auto``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from ..cuts.adapter_folder import RECORD
from ..cuts.keep import as_cut
from ..files import write_text
from ..harness.sweep_lm import SweepLM
from .settings import SweepSettings
from .summary import row_of

logger = logging.getLogger("lm_eval.lora_boundary")

_STATISTICS = ("value", "stderr", "delta_full", "ci_low", "ci_high", "p_value")


def save(lm: SweepLM, summary: Mapping[str, Any], settings: SweepSettings) -> None:
    """Record the choice of a sweep of one task, unless it had no reason to choose.

    Raises:
        OutputError: The folder cannot be written.
    """
    ((task, entry),) = summary["tasks"].items()
    path = lm.adapter.path / RECORD
    if entry["not_chosen"]:
        stays = f"; the earlier record in {path} stays" if path.exists() else ""
        logger.warning("nothing is recorded: %s%s", entry["not_chosen"], stays)
        return
    choice, reason = entry["choice"], entry["choice_reason"]
    judged = entry["test"] or entry  # on documents that were not used to choose, if possible
    cut = as_cut(choice, summary["layers"])
    row = row_of(judged, choice)
    assert row is not None  # the choice was scored
    record = {
        "boundary": cut.boundary,
        "cut": cut.notation,
        "best": entry["best"],
        "reason": reason,
        "adapter_sha256": lm.adapter.sha256,
        "adapter_config_sha256": lm.adapter.config_sha256,
        "base": settings.pretrained,
        "base_weights_sample": lm.base_sample,
        "task": task,
        "metric": entry["metric"],
        "split": judged["split"],
        "documents": judged["documents"],
        "selection": entry["selection"],
        **{name: row[name] for name in _STATISTICS},
        "smallest_equivalent": entry["smallest_equivalent"],
        "signature": summary["signature"],
    }
    write_text(path, json.dumps(record, indent=2) + "\n")
    logger.info("%s recorded in %s%s", cut, path, f": {reason}" if reason else "")
