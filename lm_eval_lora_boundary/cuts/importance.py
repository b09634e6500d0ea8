"""Measures of how much the adapter's update matters in each layer, from which orders are made."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn

from ..errors import AdapterError
from ..upstream.peft import LoraLayer, ParamWrapper
from .cut import LoraCut
from .kinds import LORA


def update_norms(cut: LoraCut) -> dict[int, float]:
    """Return the size of the update in each layer that the adapter changes.

    It is the Frobenius norm of PEFT's scaled B·A, over all modules of the layer together.

    Raises:
        AdapterError: The adapter changes a module in another way than by LoRA.
    """
    squares: dict[int, float] = defaultdict(float)
    for layer, lora in _lora_layers(cut, "norm"):
        squares[layer] += _squared_norm(lora)
    return {layer: math.sqrt(square) for layer, square in squares.items()}


def output_norms(
    cut: LoraCut, texts: Sequence[Sequence[int]], device: torch.device
) -> dict[int, float]:
    """Return the size of what LoRA adds in each layer while the model reads texts.

    It is the root of the mean square over tokens of LoRA's output, over all modules of the layer
    together: LoRA-drop's measure (Zhou et al., arXiv 2402.07721, eq. 3), per token.

    Args:
        cut: The model with the whole adapter.
        texts: Token ids of each text.
        device: Where they go.

    Raises:
        AdapterError: The adapter changes a module in another way than by plain LoRA.
    """
    # a layer that no text runs through, such as an expert, adds nothing
    squares = {module.depth: dict[torch.device, torch.Tensor]() for module in cut.modules}
    with ExitStack() as hooks, torch.no_grad():
        for layer, lora in _lora_layers(cut, "output"):
            (name,) = lora.active_adapters
            last = dict(lora.lora_B).get(name)
            if not isinstance(last, nn.Linear) or isinstance(lora, ParamWrapper):
                raise _refusal("output", type(lora).__name__)
            if lora.lora_variant:
                raise _refusal("output", type(lora.lora_variant[name]).__name__)
            add = partial(_add_square, squares, layer, lora.scaling[name])
            hooks.enter_context(last.register_forward_hook(add))
        for text in texts:
            cut.model(input_ids=torch.tensor([list(text)], device=device))
    tokens = max(1, sum(map(len, texts)))
    return {
        layer: math.sqrt(sum(map(float, by_device.values())) / tokens)
        for layer, by_device in squares.items()
    }


@torch.no_grad()
def _squared_norm(lora: Any) -> float:
    """Return the squared Frobenius norm of a LoRA layer's scaled update."""
    (name,) = lora.active_adapters
    parts = [dict(part).get(name) for part in (lora.lora_A, lora.lora_B)]
    if all(isinstance(part, nn.Linear) for part in parts) and not isinstance(lora, ParamWrapper):
        # |BA|² = tr(BᵀB AAᵀ): without the update itself, which is as large as the weight
        a, b = (part.weight.double() for part in parts if part is not None)
        return float(((b.T @ b) * (a @ a.T)).sum()) * float(lora.scaling[name]) ** 2
    if lora.lora_variant:  # PEFT computes its update elsewhere
        raise _refusal("norm", type(lora.lora_variant[name]).__name__)
    if not hasattr(lora, "get_delta_weight"):
        raise _refusal("norm", type(lora).__name__)
    return float(torch.linalg.vector_norm(lora.get_delta_weight(name).double())) ** 2


def _add_square(
    squares: dict[int, dict[torch.device, torch.Tensor]],
    layer: int,
    scaling: float,
    _: nn.Module,
    __: tuple[Any, ...],
    output: torch.Tensor,
) -> None:
    # left on its device, so that the host need not wait for it; layers may be on several ones
    square = (output.double() * scaling).square().sum()
    before = squares[layer].get(output.device)
    squares[layer][output.device] = square if before is None else before + square


def _lora_layers(cut: LoraCut, family: str) -> Iterator[tuple[int, Any]]:
    """Yield the LoRA layers with their depth; refuse an adapter that has something else."""
    if cut.kind is not LORA:
        raise AdapterError(
            f"family={family} orders layers by their LoRA, and this adapter is {cut.kind.name}; "
            "choose another family, such as each"
        )
    for module in cut.modules:
        if not isinstance(module.adapted, LoraLayer):
            kind = "saved tensor" if module.adapted is None else type(module.adapted).__name__
            raise _refusal(family, kind)
        for layer in module.adapted.modules():
            if isinstance(layer, LoraLayer):
                yield module.depth, layer


def _refusal(family: str, kind: str) -> AdapterError:
    return AdapterError(
        f"family={family} orders layers by their LoRA, and this adapter also has a {kind}; choose "
        "another family, such as map"
    )
