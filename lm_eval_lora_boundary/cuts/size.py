"""How large a cut is: parameters, bytes, arithmetic per token, and layers."""

from __future__ import annotations

import math
from typing import Any, TypedDict

from torch import nn

from ..errors import AdapterError
from ..upstream.peft import AuxiliaryTrainingWrapper, LoraLayer, ParamWrapper
from .adapter_folder import AdapterFolder
from .cut import LoraCut
from .keep import Cut
from .kept_tensors import kept_names
from .kinds import LORA
from .modules import AdaptedModule, count_parameters


class Size(TypedDict):
    """The size of a cut. A layer counts as kept whatever its strength is.

    Attributes:
        parameters: Numbers in the kept tensors of the adapter's file.
        bytes: Their size in the file's precision; None if the file has tensors under names that
            the model does not have, so that their layer is unknown.
        flops_per_token: Twice the multiply-adds of A and B for one token, if the adapter is not
            merged: in all kept modules, the output head included. None where that is no fixed
            number (experts, which run for some tokens only), or where A and B are not all there
            is (variants such as DoRA, and adapters that are not LoRA).
        layers_kept: Layers of the model that keep a part of the adapter.
    """

    parameters: int
    bytes: int | None
    flops_per_token: int | None
    layers_kept: int


def size_of(model: LoraCut, adapter: AdapterFolder, cut: Cut | int) -> Size:
    """Return the size of a cut of an adapter."""
    kept = model.kept(cut)
    parameters, size = _in_file(model, adapter, cut) if kept else (0, 0)
    return {
        "parameters": count_parameters(kept) if parameters is None else parameters,
        "bytes": size,
        "flops_per_token": _flops_per_token(model, kept),
        "layers_kept": len({module.depth for module in kept}),
    }


def _in_file(
    model: LoraCut, adapter: AdapterFolder, cut: Cut | int
) -> tuple[int | None, int | None]:
    """Return how many numbers and bytes the kept tensors take in the adapter's file."""
    try:
        names = kept_names(adapter.shapes, model, cut, adapter.path)
    except AdapterError:  # such a file can be evaluated, but not exported
        if len(model.kept(cut)) != len(model.modules):
            return None, None
        names = list(adapter.shapes)
    numbers = sum(math.prod(adapter.shapes[name]) for name in names)
    return numbers, sum(adapter.bytes[name] for name in names)


def _flops_per_token(model: LoraCut, kept: list[AdaptedModule]) -> int | None:
    if model.kind is not LORA:
        return None
    found = [_flops(model, module) for module in kept]
    known = [each for each in found if each is not None]
    return sum(known) if len(known) == len(found) else None


def _flops(model: LoraCut, module: AdaptedModule) -> int | None:
    """Return what a module's LoRA takes for one token; None if that is no fixed number."""
    adapted: Any = module.adapted
    if adapted is None or isinstance(adapted, AuxiliaryTrainingWrapper):
        return 0  # a tensor or a module in place of another one
    if not isinstance(adapted, LoraLayer) or isinstance(adapted, ParamWrapper):
        return None
    if adapted.lora_variant or not _runs_for_every_token(model, module):
        return None
    matrices = [*adapted.lora_A.values(), *adapted.lora_B.values()]
    if not all(isinstance(matrix, nn.Linear) for matrix in matrices):
        return None
    # A of an embedding is looked up, not multiplied
    rows = adapted.lora_embedding_B.values()
    numbers: int = sum(each.numel() for each in (*(m.weight for m in matrices), *rows))
    return 2 * numbers


def _runs_for_every_token(model: LoraCut, module: AdaptedModule) -> bool:
    """Return whether a module is the embedding, the head, or in a layer and not one of several."""
    if model.stack.layer_of(module.name) is None:
        base: Any = model.model.get_base_model()
        ends = (base.get_input_embeddings(), base.get_output_embeddings())
        return any(module.adapted is end or module.original is end for end in ends)
    inside = module.name.removeprefix(f"{model.stack.path}.").split(".")[1:]
    return not any(part.isdigit() for part in inside)


# What a cut does not save. vLLM allocates every slot for the largest rank in all layers.
NO_MEMORY = "A smaller adapter saves disk space and download time, but no memory in vLLM."


def in_words(cut: Cut) -> str:
    """Return what a cut keeps, for the middle of a sentence."""
    if cut.keeps_none:
        return "no adapter"
    if cut.keeps_all:
        return "the whole adapter"
    if cut.boundary is None:
        return f"keep={cut.notation}"
    return f"layer{'s' if cut.boundary else ''} {cut.notation}"


def what_it_buys(model: LoraCut, adapter: AdapterFolder, cut: Cut) -> list[str]:
    """Say what a cut saves compared with the whole adapter, and what it does not; sentences."""
    size, whole = (size_of(model, adapter, each) for each in (cut, model.stack.count - 1))
    if cut.keeps_none or cut.keeps_all:
        return []
    share = size["parameters"] / whole["parameters"]
    words = in_words(cut)
    text = (
        f"{words[:1].upper()}{words[1:]}: {size['parameters']:,} of {whole['parameters']:,} "
        f"adapter parameters ({share:.0%})"
    )
    if size["bytes"] is not None and whole["bytes"]:
        text += f", {megabytes(size['bytes'])} instead of {megabytes(whole['bytes'])}"
    sentences = [f"{text}."]
    now, before = size["flops_per_token"], whole["flops_per_token"]
    if now is not None and before is not None:
        sentences.append(
            f"Unless merged, LoRA takes {now / 1e6:,.3g} instead of {before / 1e6:,.3g} million "
            "FLOPs per token."
        )
    return [*sentences, *([NO_MEMORY] if model.kind is LORA else [])]


def megabytes(size: int) -> str:
    """Return a number of bytes in a readable unit."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
