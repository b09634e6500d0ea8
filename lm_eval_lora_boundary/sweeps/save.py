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

_STATISTICS = (
    *("value", "stderr", "delta_full", "ci_low", "ci_high", "p_value"),
    *("gain_kept", "gain_kept_low", "gain_kept_high", "p_noninferior"),
)


def save(
    lm: SweepLM,
    summary: Mapping[str, Any],
    settings: SweepSettings,
    *,
    has_test_split: bool = False,
) -> None:
    """Record the choice of a sweep of one task, unless it had no reason to choose.

    A cut is the choice only if the documents show that it is better than the whole adapter, or that
    it keeps the gain; these are those of the test split, if the task has one. Otherwise the whole
    adapter is recorded, with the reason.

    Args:
        lm: The model.
        summary: The content of ``sweep.json``.
        settings: The sweep.
        has_test_split: Whether the task has documents that could confirm the choice.

    Raises:
        OutputError: The folder cannot be written.
    """
    ((task, entry),) = summary["tasks"].items()
    path = lm.adapter.path / RECORD
    why = entry["not_chosen"]
    if has_test_split and entry["test"] is None and entry["choice_basis"]:
        why = why or "the choice was not scored on the test split; leave out --no-confirm"
    if why:
        stays = f"; the earlier record in {path} stays" if path.exists() else ""
        logger.warning("nothing is recorded: %s%s", why, stays)
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
        "basis": entry["choice_basis"],
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
        "margin": entry["margin"],
        "smallest_noninferior": entry["smallest_noninferior"],
        "signature": judged.get("signature", summary["signature"]),
    }
    write_text(path, json.dumps(record, indent=2) + "\n")
    logger.info("%s recorded in %s: %s", cut, path, reason or entry["choice_basis"])
