"""Refuse cuts that PEFT's file format, or a checkpoint, cannot hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftConfig

from ..cuts.cut import LoraCut
from ..cuts.keep import Cut
from ..cuts.kinds import rewrites_base
from ..cuts.modules import Overwrite
from ..errors import AdapterError
from ..upstream.peft import TrainableTokensWrapper


def refuse_base_rewriting(config: PeftConfig, rewritten: Sequence[str] = ()) -> None:
    """Refuse an adapter that changes base weights (``rewritten``: known ones) when it is loaded.

    Other engines do not change them, and would add the adapter to the wrong weights.

    Raises:
        AdapterError: It does.
    """
    what = rewrites_base(config) or (f"this adapter (first: {rewritten[0]})" if rewritten else "")
    if not what:
        return
    remedy = (
        "Convert it first with save_pretrained(…, path_initial_model_for_weight_conversion=…), or "
        "merge"
    )
    if getattr(config, "kasa_config", None) is not None:
        remedy = "PEFT cannot convert it; merge"  # singular values are gone from the base
    raise AdapterError(
        f"{what} rewrites base weights whenever PEFT loads the adapter, which an exported adapter "
        f"must not. {remedy} it into a checkpoint (--merge)."
    )


def refuse_grown_head(cut: Cut, rows: int) -> None:
    """Refuse to keep the rows of new tokens in the embeddings and drop them in the head.

    Or the other way round. ``rows`` is the size of the grown vocabulary, or 0.

    Raises:
        AdapterError: The cut would do so.
    """
    if rows and 0 in (cut.strengths[0], cut.strengths[-1]):
        raise AdapterError(
            f"the adapter was trained with {rows} tokens, more than the base model has. {cut} "
            "keeps the new rows of the embeddings and drops those of the head, or the other way "
            "round, which neither an adapter nor a checkpoint can hold; export "
            f"boundary={len(cut.strengths) - 1}, or a cut that keeps the first and the last layer."
        )


def refuse_unequal_vocabulary(model: Any, cut: Cut) -> None:
    """Refuse a model whose embeddings and head have different numbers of rows.

    Raises:
        AdapterError: The adapter has rows for one side only.
    """
    head = model.get_output_embeddings()
    rows = model.get_input_embeddings().weight.shape[0]
    if head is not None and head.weight.shape[0] != rows:
        raise AdapterError(
            f"with {cut} the input embeddings have {rows} rows and the output head "
            f"{head.weight.shape[0]}, which no checkpoint can hold; export an adapter instead"
        )


def refuse_untied(model: LoraCut, cut: Cut, *, tied: bool) -> None:
    """Refuse to keep embeddings and drop the head that they are tied to, or the reverse.

    PEFT writes both sides of a tied pair when it loads the adapter.

    Raises:
        AdapterError: The cut would separate them.
    """
    if not tied or 0 not in (cut.strengths[0], cut.strengths[-1]):
        return
    for module in model.kept(cut):
        trains_tokens = isinstance(module.adapted, TrainableTokensWrapper)
        if trains_tokens or _overwrites_embedding(model, module.overwrite):
            raise AdapterError(
                f"the base model ties its head to {module.module}, and {cut} keeps "
                "what the adapter trained there while it drops the head's side; PEFT loads both "
                "or none. Merge it into a checkpoint (--merge), where they are two tensors."
            )


def _overwrites_embedding(cut: LoraCut, overwrite: Overwrite | None) -> bool:
    """Return whether loading the adapter changes the input embeddings."""
    module: Any = cut.model.get_base_model().get_input_embeddings()
    module = getattr(module, "base_layer", getattr(module, "original_module", module))
    if overwrite is None or overwrite.owner is not module:
        return False
    return not torch.equal(overwrite.original.to(overwrite.trained.dtype), overwrite.trained)
