"""Tell whether an adapter, or what a cut keeps of it, changes anything at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper

from ..errors import AdapterError
from .cut import LoraCut
from .modules import AdaptedModule


def has_effect(modules: Iterable[AdaptedModule]) -> bool:
    """Tell whether any of the modules changes what the base model computes.

    LoRA adds nothing where its A or its B is all zero; DoRA must also leave the length of the
    weight's rows as it is. Saved copies, token rows and tensors change something if they differ.
    """
    return any(_changes(module) for module in modules)


def _changes(module: AdaptedModule) -> bool:
    if module.overwrite is not None:
        return _differ(module.overwrite.original, module.overwrite.trained)
    adapted: Any = module.adapted
    if isinstance(adapted, LoraLayer):
        return any(_adds(layer) for layer in adapted.modules() if isinstance(layer, LoraLayer))
    if isinstance(adapted, ModulesToSaveWrapper):
        original = dict(adapted.original_module.named_parameters())
        return any(
            _differ(original[name], parameter)
            for copy in adapted.modules_to_save.values()
            for name, parameter in copy.named_parameters()
        )
    if isinstance(adapted, TrainableTokensWrapper):
        tokens = adapted.token_adapter
        return any(
            _differ(tokens.trainable_tokens_original[name], rows)
            for name, rows in tokens.trainable_tokens_delta.items()
        )
    return True


def _differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape != b.shape or not torch.equal(a.to(b.dtype), b)


def _adds(layer: LoraLayer) -> bool:
    pairs = [
        *((layer.lora_A[name].weight, layer.lora_B[name].weight) for name in layer.lora_A),
        *(
            (layer.lora_embedding_A[name], layer.lora_embedding_B[name])
            for name in layer.lora_embedding_A
        ),
    ]
    if any(bool(a.any()) and bool(b.any()) for a, b in pairs):
        return True
    weight: Any = getattr(layer.get_base_layer(), "weight", None)
    for magnitude in layer.lora_magnitude_vector.values():
        if weight is None or weight.ndim != 2 or magnitude.weight.ndim != 1:
            return True
        # DoRA starts from the norm of the weight's rows (arXiv 2402.09353, eq. 5)
        norm = torch.linalg.norm(weight.T if layer.fan_in_fan_out else weight, dim=1)
        if not torch.allclose(norm.to(magnitude.weight.dtype), magnitude.weight):
            return True
    return False


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
