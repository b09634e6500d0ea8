"""Cuts that PEFT's file format, or a checkpoint, cannot hold."""

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
    """Refuse an adapter that changes base weights whenever it is loaded.

    Other engines do not do so, and would add it to the wrong weights.

    Args:
        config: The adapter's config.
        rewritten: Base tensors that loading the adapter is known to have changed.

    Raises:
        AdapterError: It does.
    """
    what = rewrites_base(config) or (f"this adapter (first: {rewritten[0]})" if rewritten else "")
    if not what:
        return
    convert = (
        "Convert it first with save_pretrained(…, path_initial_model_for_weight_conversion=…), or "
        "merge"
    )
    if getattr(config, "kasa_config", None) is not None:
        convert = "PEFT cannot convert it; merge"  # singular values are gone from the base
    raise AdapterError(
        f"{what} rewrites base weights whenever PEFT loads the adapter, which an exported adapter "
        f"must not. {convert} it into a checkpoint (--merge)."
    )


def refuse_grown_head(cut: LoraCut, boundary: int, rows: int) -> None:
    """Refuse to drop the head's rows of new tokens whose embeddings are kept.

    Args:
        cut: The whole adapter on the model.
        boundary: The boundary.
        rows: Rows of the grown vocabulary; 0 if it did not grow.

    Raises:
        AdapterError: The boundary would do so.
    """
    top = cut.stack.count - 1
    if rows and boundary < top:
        raise AdapterError(
            f"the adapter was trained with {rows} tokens, more than the base model has. "
            f"boundary={boundary} keeps the new rows of the embeddings and drops those of the "
            f"head, which neither an adapter nor a checkpoint can hold; export boundary={top}."
        )


def refuse_parted_vocabulary(model: Any, boundary: int) -> None:
    """Refuse a model whose embeddings and head know different numbers of tokens.

    Raises:
        AdapterError: The adapter brought rows for one side only.
    """
    head = model.get_output_embeddings()
    rows = model.get_input_embeddings().weight.shape[0]
    if head is not None and head.weight.shape[0] != rows:
        raise AdapterError(
            f"at boundary={boundary} the input embeddings have {rows} rows and the output head "
            f"{head.weight.shape[0]}, which no checkpoint can hold; export an adapter instead"
        )


def refuse_untied(cut: LoraCut, boundary: int, *, tied: bool) -> None:
    """Refuse embeddings that are kept while the head they are tied to is dropped.

    PEFT writes both sides of a tied pair when it loads the adapter.

    Args:
        cut: The whole adapter on the model.
        boundary: The boundary.
        tied: Whether the base model ties its head to its embeddings.

    Raises:
        AdapterError: The boundary would part them.
    """
    if not tied or boundary >= cut.stack.count - 1:
        return
    for module in cut.kept(boundary):
        tokens = isinstance(module.adapted, TrainableTokensWrapper)
        if tokens or _overwrites_embedding(cut, module.overwrite):
            raise AdapterError(
                f"the base model ties its head to {module.module}, and boundary={boundary} keeps "
                "what the adapter trained there while it drops the head's side; PEFT loads both "
                "or none. Merge it into a checkpoint (--merge), where they are two tensors."
            )


def _overwrites_embedding(cut: LoraCut, overwrite: Overwrite | None) -> bool:
    """Tell whether loading the adapter puts other values into the input embeddings."""
    if overwrite is None:
        return False
    module: Any = cut.model.get_base_model().get_input_embeddings()
    module = getattr(module, "base_layer", getattr(module, "original_module", module))
    return overwrite.owner is module and not _same(overwrite)


def _same(overwrite: Overwrite) -> bool:
    original, trained = overwrite.original, overwrite.trained
    return torch.equal(original.to(trained.dtype), trained)
