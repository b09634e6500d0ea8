"""Whether an adapter, or what a cut keeps of it, changes anything at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..errors import AdapterError
from ..upstream.peft import (
    BaseTunerLayer,
    LoraLayer,
    ModulesToSaveWrapper,
    TrainableTokensWrapper,
)
from .cut import LoraCut
from .keep import Cut
from .kinds import LORA, Kind
from .modules import AdaptedModule, quantized


def has_effect(modules: Iterable[AdaptedModule], kind: Kind = LORA) -> bool:
    """Return whether any of the modules changes what the base model computes.

    LoRA adds nothing if its A or its B is all zero. DoRA must also keep the norms of the weight's
    rows. Saved copies, token rows and tensors have an effect if they differ from the original.
    Adapters of another ``kind`` have one if a module answers otherwise than its base layer.
    """
    return any(_changes(module, kind) for module in modules)


def _changes(module: AdaptedModule, kind: Kind) -> bool:
    adapted: Any = module.adapted
    if module.overwrite is not None:
        pairs = [(module.overwrite.original, module.overwrite.trained)]
    elif isinstance(adapted, BaseTunerLayer) and kind is not LORA:
        return _answers_differently(adapted, module.original)
    elif isinstance(adapted, LoraLayer):
        return any(_adds(layer) for layer in adapted.modules() if isinstance(layer, LoraLayer))
    elif isinstance(adapted, ModulesToSaveWrapper):
        original = dict(adapted.original_module.named_parameters())
        copies = adapted.modules_to_save.values()
        pairs = [(original[name], p) for copy in copies for name, p in copy.named_parameters()]
    elif isinstance(adapted, TrainableTokensWrapper):
        tokens = adapted.token_adapter
        before, after = tokens.trainable_tokens_original, tokens.trainable_tokens_delta
        pairs = [(before[name], rows) for name, rows in after.items()]
    else:
        return True
    return any(a.shape != b.shape or not torch.equal(a.to(b.dtype), b) for a, b in pairs)


def _adds(layer: LoraLayer) -> bool:
    linear = [(a.weight, layer.lora_B[name].weight) for name, a in layer.lora_A.items()]
    rows = [(a, layer.lora_embedding_B[name]) for name, a in layer.lora_embedding_A.items()]
    if any(bool(a.any()) and bool(b.any()) for a, b in linear + rows):
        return True
    weight: Any = getattr(layer.get_base_layer(), "weight", None)
    for magnitude in layer.lora_magnitude_vector.values():
        if weight is None or weight.ndim != 2 or magnitude.weight.ndim != 1:
            return True
        # DoRA starts from the norms of the weight's rows (arXiv 2402.09353, eq. 5)
        norm = torch.linalg.norm(weight.T if layer.fan_in_fan_out else weight, dim=1)
        if not torch.allclose(norm.to(magnitude.weight.dtype), magnitude.weight):
            return True
    return False


def _answers_differently(adapted: Any, original: nn.Module) -> bool:
    """Return whether a module and its base layer answer made-up inputs differently.

    True as well where they cannot be asked: without weights, with packed ones, or for a module that
    is neither linear nor an embedding.
    """
    if quantized(original) or any(p.is_meta for p in adapted.parameters()):
        return True
    weight: Any = getattr(original, "weight", None)
    if isinstance(original, nn.Embedding):
        inputs = torch.arange(original.num_embeddings, device=weight.device).unsqueeze(0)
    elif isinstance(original, nn.Linear):
        made_up = torch.randn(
            1, 4, original.in_features, generator=torch.Generator().manual_seed(0)
        )
        inputs = made_up.to(weight.device, weight.dtype)
    else:
        return True
    with torch.no_grad():
        return not torch.equal(adapted(inputs), original(inputs))


def refuse_no_effect(model: LoraCut, cut: Cut | int) -> None:
    """Refuse a cut with which the adapter has no effect, unless it keeps no layer on purpose.

    Raises:
        AdapterError: No module is kept, or no kept module changes the base model.
    """
    cut = model.cut(cut)
    if cut.keeps_none:
        return
    kept = model.kept(cut)
    if not kept:
        layers = sorted({module.depth for module in model.modules})
        raise AdapterError(
            f"{cut} keeps no module: the adapter starts at layer {layers[0]} and ends at layer "
            f"{layers[-1]}. Keep some of these layers, or give boundary=-1 for the base model."
        )
    if not has_effect(kept, model.kind):
        raise AdapterError(
            f"the adapter has no effect: all {len(kept)} kept modules add zero. It looks "
            "untrained; check the folder."
        )
