"""Refusals that need a model in memory, or come from loading one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

from .adapted import has_effect
from .adapter import LoraCut
from .errors import AdapterError, LoraBoundaryError, ModelError
from .vocabulary import embeddings

USED = "_lora_boundary_merged"  # attribute of a model whose weights an adapter is merged into


@contextmanager
def loading_base(pretrained: str) -> Iterator[None]:
    """Turn what goes wrong while a base model is loaded into one line.

    Raises:
        ModelError: It cannot be loaded.
    """
    try:
        yield
    except LoraBoundaryError:
        raise
    except (OSError, ValueError, TypeError, ImportError) as error:
        if isinstance(error, TypeError) and "unexpected keyword argument" not in str(error):
            raise  # a bug, not an argument that the model does not have
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"pretrained={pretrained} cannot be loaded ({type(error).__name__}: {reason}); check "
            "the name, your access, and --model-args"
        ) from error


def refuse_no_effect(cut: LoraCut, boundary: int) -> None:
    """Refuse to score an adapter of which nothing works at a boundary, -1 apart.

    Raises:
        AdapterError: No module is kept, or all kept ones leave the base model as it is.
    """
    if boundary == -1:
        return
    kept = cut.kept(boundary)
    if not kept:
        lowest = min(module.depth for module in cut.modules)
        raise AdapterError(
            f"boundary={boundary} keeps no module: the adapter starts at layer {lowest}. Give "
            f"boundary={lowest} or more, or boundary=-1 for the base model."
        )
    if not has_effect(kept):
        raise AdapterError(
            f"the adapter has no effect: all {len(kept)} kept modules add zero. It looks "
            "untrained; check the folder."
        )


def refuse_adapted(model: PreTrainedModel) -> None:
    """Refuse a loaded model that carries an adapter, or has one merged into it.

    Raises:
        ModelError: It does.
    """
    adapted = any(isinstance(module, BaseTunerLayer) for module in model.modules())
    if adapted or getattr(model, USED, False):
        raise ModelError(
            "the model that was passed has been used with an adapter, which changed it in place; "
            "pass a fresh one, such as copy.deepcopy(base)"
        )


def refuse_tokens_without_rows(model: Any, tokens: int, boundary: int) -> None:
    """Refuse a tokenizer with tokens whose rows a cut has dropped.

    Args:
        model: The cut model, of an adapter that brought new tokens.
        tokens: Size of the tokenizer.
        boundary: The boundary.

    Raises:
        AdapterError: An embedding has fewer rows than the tokenizer has tokens.
    """
    rows = [module.weight.shape[0] for module in embeddings(model)]
    if tokens > min(rows):
        raise AdapterError(
            f"the tokenizer has {tokens} tokens, but at boundary={boundary} the input embeddings "
            f"have {rows[0]} rows and the output head {rows[-1]}, since those of the adapter's "
            "new tokens are dropped. Use the base model's tokenizer, or a boundary that keeps them."
        )
