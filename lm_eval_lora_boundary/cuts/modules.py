"""What an adapter changes in a base model, piece by piece, and how to merge a piece."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from peft.tuners.tuners_utils import onload_layer
from torch import nn

from ..errors import AdapterError


@dataclass(frozen=True)
class AdaptedModule:
    """One module of the base model that the adapter changes.

    Attributes:
        name: Path in the base model.
        depth: Its decoder layer; 0 on the embedding side, N-1 on the head side.
        parameters: Number of parameters that the adapter adds or replaces here.
        adapted: The module with the adapter; None where only a tensor is overwritten.
        original: The module without it.
        overwrite: The overwritten tensor, in that case.
    """

    name: str
    depth: int
    parameters: int
    adapted: nn.Module | None = field(repr=False)
    original: nn.Module = field(repr=False)
    overwrite: Overwrite | None = field(default=None, repr=False)

    @property
    def module(self) -> str:
        """Path of the module, also where ``name`` is that of a tensor."""
        return self.name if self.overwrite is None else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Overwrite:
    """A base tensor that loading the adapter changed.

    Attributes:
        name: Path of the tensor in the base model.
        depth: Depth of the module that owns it.
        owner: That module.
        original: The tensor as it was before the adapter was loaded.
        trained: The tensor as the adapter left it.
        counts: Whether the adapter file holds the tensor. If not, it changed because of the
            adapter's initialisation, and is no parameter of the adapter.
        rewritten: Whether the adapter's initialisation or variant changed it: neither the file
            nor a grown vocabulary did, and no tensor that it is tied to.
    """

    name: str
    depth: int
    owner: nn.Module = field(repr=False)
    original: torch.Tensor = field(repr=False)
    trained: torch.Tensor = field(repr=False)
    counts: bool
    rewritten: bool = False

    def put(self, parameter: torch.Tensor) -> None:
        """Let the owner use ``parameter`` (rebinding: a tied tensor changes on one side only)."""
        setattr(self.owner, self.name.rpartition(".")[2], parameter)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` at the path ``name`` of ``model``."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)


def merge_modules(model: Any, modules: Iterable[AdaptedModule]) -> None:
    """Merge adapted modules into the base weights and leave the plain modules in their place.

    Args:
        model: The base model that the names belong to.
        modules: Those to merge; overwritten tensors need no merging and are passed over.

    Raises:
        AdapterError: PEFT cannot merge one of them.
    """
    for module in modules:
        adapted: Any = module.adapted
        if adapted is None:
            continue
        _untie(model, module)
        try:
            with onload_layer(adapted):
                replace_module(model, module.name, _merged(adapted, module.original))
        except (NotImplementedError, RuntimeError, ValueError) as error:
            raise AdapterError(
                f"{module.name} cannot be merged ({error}); leave out merge=True"
            ) from error


def _merged(adapted: Any, original: nn.Module) -> Any:
    if hasattr(adapted, "unload_and_optionally_merge_module"):
        return adapted.unload_and_optionally_merge_module(
            merge=True, safe_merge=True, adapter_names=None
        )
    adapted.merge(safe_merge=True)
    return original


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
