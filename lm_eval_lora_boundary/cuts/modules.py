"""The modules and tensors that an adapter changes, how to replace them, and how to merge them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from ..errors import AdapterError, first_line
from ..upstream.peft import AuxiliaryTrainingWrapper, BaseTunerLayer, onload_layer


@dataclass(frozen=True)
class AdaptedModule:
    """A module of the base model that the adapter changes.

    Attributes:
        name: Path in the base model.
        depth: Its decoder layer; 0 on the embedding side, N-1 on the head side.
        sizes: Numbers of values of the parameters that the adapter adds or replaces here, by id:
            some kinds of adapters use one parameter in several modules.
        adapted: The module with the adapter; None if only a tensor is overwritten.
        original: The module without the adapter.
        overwrite: The overwritten tensor, in that case.
    """

    name: str
    depth: int
    sizes: Mapping[int, int] = field(repr=False)
    adapted: nn.Module | None = field(repr=False)
    original: nn.Module = field(repr=False)
    overwrite: Overwrite | None = field(default=None, repr=False)

    @property
    def parameters(self) -> int:
        """Number of parameters that the adapter adds or replaces here."""
        return sum(self.sizes.values())

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


def adapted_modules(base: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that PEFT has put around those of a base model, by path."""
    found: dict[str, nn.Module] = {}
    inside = "\n"  # prefix of the last adapted module; no name has a newline
    for name, module in base.named_modules():
        if name.startswith(inside):
            continue
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            found[name] = module
            inside = f"{name}."
    return found


def count_parameters(modules: Iterable[AdaptedModule]) -> int:
    """Return the number of parameters of modules; one that several of them use counts once."""
    return sum({key: size for each in modules for key, size in each.sizes.items()}.values())


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` at the path ``name`` of ``model``."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)


def merge_modules(model: Any, modules: Iterable[AdaptedModule]) -> None:
    """Merge adapted modules into the weights of the base model.

    Overwritten tensors need no merging and are skipped.

    Raises:
        AdapterError: PEFT cannot merge one of them, or its base weight is quantized.
    """
    for module in modules:
        adapted: Any = module.adapted
        if adapted is None:
            continue
        if isinstance(adapted, BaseTunerLayer) and quantized(module.original):
            raise AdapterError(
                f"the weight of {module.name} is quantized, and merging would round the sum to "
                "these few values, if PEFT merges into them at all; leave out merge=True, or load "
                "the base model without quantization"
            )
        _untie(model, module)
        try:
            with onload_layer(adapted):
                replace_module(model, module.name, _merged(adapted))
        except (NotImplementedError, RuntimeError, ValueError) as error:
            raise AdapterError(
                f"{module.name} cannot be merged ({first_line(error)}); leave out merge=True"
            ) from error


def quantized(module: nn.Module) -> bool:
    """Return whether a module of a base model holds packed weights instead of plain numbers."""
    return any(
        not isinstance(parameter, DTensor)  # a plain one, spread over devices
        and (type(parameter) is not nn.Parameter or not parameter.is_floating_point())
        for parameter in module.parameters()
    )


def _merged(adapted: Any) -> Any:
    """Return a module with the adapter merged into it, made in PEFT's own way.

    Raises:
        ValueError: PEFT has left the adapter out.
    """
    if hasattr(adapted, "unload_and_optionally_merge_module"):
        return adapted.unload_and_optionally_merge_module(
            merge=True, safe_merge=True, adapter_names=None
        )
    adapted.merge(safe_merge=True)
    if not adapted.merged:  # PEFT only warns
        raise ValueError(f"PEFT does not merge this {type(adapted).__name__}")
    return adapted.get_base_layer()


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
