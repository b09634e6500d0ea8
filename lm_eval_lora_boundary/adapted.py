"""What an adapter changes in a base model, piece by piece, and how to merge a piece."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from peft.tuners.lora import LoraLayer
from torch import nn


@dataclass(frozen=True)
class AdaptedModule:
    """One module of the base model that the adapter changes.

    Attributes:
        name: Path in the base model.
        depth: Its decoder layer; 0 on the embedding side, N-1 on the head side.
        parameters: Number of parameters that the adapter adds or replaces here.
        adapted: The module with the adapter; None where only tensors are overwritten.
        original: The module without it.
    """

    name: str
    depth: int
    parameters: int
    adapted: nn.Module | None = field(repr=False)
    original: nn.Module = field(repr=False)


@dataclass(frozen=True)
class Overwrite:
    """A base tensor that loading the adapter changed.

    Attributes:
        name: Path of the tensor in the base model.
        depth: Depth of the module that owns it.
        owner: That module.
        original: The parameter as it was before the adapter was loaded.
        trained: The parameter as the adapter left it.
        counts: Whether the adapter file holds the tensor. If not, it changed because of the
            adapter's initialisation, and is no parameter of the adapter.
    """

    name: str
    depth: int
    owner: nn.Module = field(repr=False)
    original: nn.Parameter = field(repr=False)
    trained: nn.Parameter = field(repr=False)
    counts: bool

    def put(self, parameter: nn.Parameter) -> None:
        """Let the owner use ``parameter`` (rebinding: a tied tensor changes on one side only)."""
        setattr(self.owner, self.name.rpartition(".")[2], parameter)


def has_effect(modules: list[AdaptedModule]) -> bool:
    """Tell whether any of the modules changes what the base model computes.

    A LoRA module adds nothing if its A or its B is all zero.
    """
    return any(_changes(module) for module in modules)


def _changes(module: AdaptedModule) -> bool:
    if not isinstance(module.adapted, LoraLayer):
        # other kinds replace whole tensors or rows; an equal copy is not worth a refusal
        return True
    layers = [layer for layer in module.adapted.modules() if isinstance(layer, LoraLayer)]
    return any(_adds_something(layer) for layer in layers)


def _adds_something(layer: LoraLayer) -> bool:
    if len(layer.lora_magnitude_vector):  # DoRA rescales even where the product is zero
        return True
    pairs = [
        *((layer.lora_A[name].weight, layer.lora_B[name].weight) for name in layer.lora_A),
        *(
            (layer.lora_embedding_A[name], layer.lora_embedding_B[name])
            for name in layer.lora_embedding_A
        ),
    ]
    return any(bool(a.any()) and bool(b.any()) for a, b in pairs)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` at the path ``name`` of ``model``."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)


def merge_modules(model: Any, modules: Iterable[AdaptedModule]) -> None:
    """Merge adapted modules into the base weights and leave the plain modules in their place.

    Args:
        model: The base model that the names belong to.
        modules: Those to merge; overwritten tensors need no merging and are passed over.
    """
    for module in modules:
        adapted: Any = module.adapted
        if adapted is None:
            continue
        _untie(model, module)
        if hasattr(adapted, "unload_and_optionally_merge_module"):
            merged = adapted.unload_and_optionally_merge_module(
                merge=True, safe_merge=True, adapter_names=None
            )
        else:
            adapted.merge(safe_merge=True)
            merged = module.original
        replace_module(model, module.name, merged)


def _untie(model: Any, module: AdaptedModule) -> None:
    """Give a module its own weight before merging, if another module uses the same tensor.

    Merging into a tied embedding would change the output head as well, which the unmerged
    adapter does not do.
    """
    tied = [
        name
        for name, parameter in module.original.named_parameters()
        for other_name, other in model.named_parameters(remove_duplicate=False)
        if other is parameter and not other_name.startswith(f"{module.name}.")
    ]
    for name in tied:
        owner = module.original.get_submodule(name.rpartition(".")[0])
        attribute = name.rpartition(".")[2]
        shared = getattr(owner, attribute)
        setattr(owner, attribute, nn.Parameter(shared.detach().clone(), requires_grad=False))
    if tied:
        model.config.tie_word_embeddings = False
