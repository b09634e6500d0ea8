"""The modules and tensors that an adapter changes, how to replace them, and how to merge them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..errors import AdapterError, first_line
from ..upstream.peft import onload_layer


@dataclass(frozen=True)
class AdaptedModule:
    """A module of the base model that the adapter changes.

    Attributes:
        name: Path in the base model.
        depth: Its decoder layer; 0 on the embedding side, N-1 on the head side.
        parameters: Number of parameters that the adapter adds or replaces here.
        adapted: The module with the adapter; None if only a tensor is overwritten.
        original: The module without the adapter.
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
        """Path of the module, even if ``name`` is that of a tensor."""
        return self.name if self.overwrite is None else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Overwrite:
    """A base tensor that loading the adapter changed.

    Attributes:
        name: Path of the tensor in the base model.
        depth: Depth of the module that owns it.
        owner: That module.
        original: The tensor before the adapter was loaded.
        trained: The tensor after that.
        counts: Whether the adapter's file holds the tensor, so that it is a parameter of the
            adapter. If not, loading changed it in another way.
        rewritten: Whether the adapter's initialisation or variant changed it: not the file or a
            grown vocabulary, directly or through a tied tensor.
    """

    name: str
    depth: int
    owner: nn.Module = field(repr=False)
    original: torch.Tensor = field(repr=False)
    trained: torch.Tensor = field(repr=False)
    counts: bool
    rewritten: bool = False

    def put(self, parameter: torch.Tensor) -> None:
        """Give the owner ``parameter`` instead. A tensor tied to it stays as it is."""
        setattr(self.owner, self.name.rpartition(".")[2], parameter)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` at the path ``name`` of ``model``."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)


def merge_modules(model: Any, modules: Iterable[AdaptedModule]) -> None:
    """Merge adapted modules into the weights of the base model.

    Overwritten tensors need no merging and are skipped.

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
                f"{module.name} cannot be merged ({first_line(error)}); leave out merge=True"
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

    Merging into a tied embedding would also change the output head, which the unmerged adapter
    does not do.
    """
    others = {
        id(parameter)
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if not name.startswith(f"{module.name}.")
    }
    for path, parameter in list(module.original.named_parameters()):
        if id(parameter) in others:
            owner, _, attribute = path.rpartition(".")
            own = nn.Parameter(parameter.detach().clone(), requires_grad=False)
            setattr(module.original.get_submodule(owner), attribute, own)
            model.config.tie_word_embeddings = False
