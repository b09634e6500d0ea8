"""Refuse cuts that PEFT's file format, or a checkpoint, cannot hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import TrainableTokensWrapper

from ..cuts.cut import LoraCut, rewrites_base
from ..cuts.modules import Overwrite
from ..errors import AdapterError


def refuse_base_rewriting(config: LoraConfig, rewritten: Sequence[str] = ()) -> None:
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


def refuse_grown_head(cut: LoraCut, boundary: int, rows: int) -> None:
    """Refuse to keep the embeddings of new tokens and drop their rows of the head.

    ``rows`` is the size of the grown vocabulary, or 0.

    Raises:
        AdapterError: The boundary would do so.
    """
    full = cut.stack.count - 1
    if rows and boundary < full:
        raise AdapterError(
            f"the adapter was trained with {rows} tokens, more than the base model has. "
            f"boundary={boundary} keeps the new rows of the embeddings and drops those of the "
            f"head, which neither an adapter nor a checkpoint can hold; export boundary={full}."
        )


def refuse_unequal_vocabulary(model: Any, boundary: int) -> None:
    """Refuse a model whose embeddings and head have different numbers of rows.

    Raises:
        AdapterError: The adapter has rows for one side only.
    """
    head = model.get_output_embeddings()
    rows = model.get_input_embeddings().weight.shape[0]
    if head is not None and head.weight.shape[0] != rows:
        raise AdapterError(
            f"at boundary={boundary} the input embeddings have {rows} rows and the output head "
            f"{head.weight.shape[0]}, which no checkpoint can hold; export an adapter instead"
        )


def refuse_untied(cut: LoraCut, boundary: int, *, tied: bool) -> None:
    """Refuse to keep embeddings and drop the head that they are tied to.

    PEFT writes both sides of a tied pair when it loads the adapter.

    Raises:
        AdapterError: The boundary would separate them.
    """
    if not tied or boundary >= cut.stack.count - 1:
        return
    for module in cut.kept(boundary):
        trains_tokens = isinstance(module.adapted, TrainableTokensWrapper)
        if trains_tokens or _overwrites_embedding(cut, module.overwrite):
            raise AdapterError(
                f"the base model ties its head to {module.module}, and boundary={boundary} keeps "
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
