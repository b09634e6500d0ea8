"""The shared forward: one pass of a batch answers it under many cuts.

The decoder is handed one row per text. Before each layer, its rows are gathered from those of the
layer below (see :mod:`.rows`): where the strengths of two cuts begin to differ, a row becomes two.
All rows of a layer share one base matrix product, and LoRA runs on the first of them, as one slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import ModelError
from ..upstream.peft import LoraLayer, ParamWrapper
from .rows import Beginnings, Indices, Rows, Strengths

_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class _LayerPlan:
    """What the modules of a layer need to know about its rows in the next pass.

    Attributes:
        indices: The row below that enters each row, and the text of each row; None for all in
            order.
        strengths: The strength of each row with LoRA, shape (with_lora,); None if all are equal.
        tokens: Number of tokens in each row, set when the layer is entered.
    """

    def __init__(self, rows: Rows, layer: int) -> None:
        """Look a layer up."""
        here = rows.layers[layer]
        self._rows = len(here.first)
        self._with_lora = here.with_lora
        self._texts = int(rows.texts.max()) + 1
        self.tokens = 0
        below = len(rows.layers[layer - 1].first) if layer else self._texts
        self.indices = [_unless_all(rows.entries(layer), below)]
        self.indices += [_unless_all(rows.texts_of(layer), self._texts)]
        strengths = rows.strengths_of(layer)
        several = len(set(strengths.tolist())) > 1
        self.strengths = torch.from_numpy(strengths) if several else None
        self._strength = 1.0 if several or not len(strengths) else float(strengths[0])
        self._factors: dict[tuple[float, torch.dtype], torch.Tensor] = {}

    def enter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Arguments:
        """Return the arguments of the layer for its own rows."""
        hidden = args[0] if args else kwargs["hidden_states"]
        self.tokens = hidden.shape[1]
        entries, texts = self.indices
        if entries is not None:
            hidden = hidden.index_select(0, entries.to(hidden.device))
        if texts is not None:
            texts = texts.to(hidden.device)
            kwargs = {name: self._gathered(value, texts) for name, value in kwargs.items()}
            args = (*args[:1], *(self._gathered(value, texts) for value in args[1:]))
        return ((hidden, *args[1:]), kwargs) if args else ((), kwargs | {"hidden_states": hidden})

    def _gathered(self, value: Any, texts: torch.Tensor) -> Any:
        """Gather what has one row per text, such as masks and position embeddings."""
        if isinstance(value, torch.Tensor):
            rows = value.ndim > 1 and value.shape[0] == self._texts
            return value.index_select(0, texts) if rows else value
        if isinstance(value, tuple):
            return tuple(self._gathered(item, texts) for item in value)
        return value

    def slice(self, inputs: torch.Tensor) -> int:
        """Return how many of a module's first inputs run with LoRA.

        Raises:
            ModelError: The inputs are neither rows nor the tokens of all rows in order.
        """
        if inputs.shape[0] == self._rows and (inputs.ndim > 2 or self.tokens == 1):
            return self._with_lora
        if inputs.ndim == 2 and inputs.shape[0] == self._rows * self.tokens:
            return self._with_lora * self.tokens
        raise ModelError(
            f"a module with LoRA was given a tensor of shape {tuple(inputs.shape)}, in which the "
            f"{self._rows} rows of {self.tokens} tokens cannot be told apart; use --engine toggle"
        )

    def factor(self, scaling: float, update: torch.Tensor) -> float | torch.Tensor:
        """Return what PEFT's scaling becomes for the rows with LoRA.

        Args:
            scaling: PEFT's scaling of a module.
            update: The module's output without scaling, of the rows with LoRA.

        Returns:
            A number if all rows have the same strength, else a tensor that broadcasts.
        """
        if self.strengths is None:
            return scaling if self._strength == 1 else scaling * self._strength
        # the precision in which torch multiplies a tensor by a Python number
        dtype = torch.promote_types(update.dtype, torch.float32)
        if (scaling, dtype) not in self._factors:
            self._factors[scaling, dtype] = (self.strengths * scaling).to(dtype)
        factors = self._factors[scaling, dtype].to(update.device)
        if update.shape[0] != self._with_lora:
            factors = factors.repeat_interleave(self.tokens)
        return factors.view(-1, *[1] * (update.ndim - 1))


@dataclass(frozen=True)
class _Parts:
    """A LoRA layer and what it computes with.

    The modules are held here, and not by the stand-in, so that the model has them only once.
    """

    lora: Any
    base: Any
    a: Any
    b: Any
    scaling: float


class _SlicedLora(nn.Module):
    """Stands in for a LoRA layer and applies LoRA to the first rows only."""

    def __init__(self, lora: Any, plans: dict[int, _LayerPlan], layer: int) -> None:
        super().__init__()
        (name,) = lora.active_adapters
        a, b = lora.lora_A[name], lora.lora_B[name]
        self._parts = _Parts(lora, lora.base_layer, a, b, lora.scaling[name])
        self._plans = plans
        self._layer = layer

    def __getattr__(self, name: str) -> Any:
        """Return what the decoder asks of the module, such as its weight's dtype."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._parts.lora, name)

    def forward(self, inputs: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the base layer's output, with LoRA added to the rows that have it."""
        parts, plan = self._parts, self._plans[self._layer]
        result: torch.Tensor = parts.base(inputs, *args, **kwargs)
        if count := plan.slice(inputs):
            update = parts.b(parts.a(inputs[:count].to(parts.a.weight.dtype)))
            # in place: the product has the precision of the update, as in PEFT
            result[:count].add_(update.mul_(plan.factor(parts.scaling, update)))
        return result


class ForkedModel:
    """The decoder layers of a PEFT model, whose passes can answer a batch under many cuts.

    Attributes:
        beginnings: The beginnings of the cuts.
        cuts: Number of cuts.
    """

    def __init__(self, layers: Iterable[nn.Module], cuts: Sequence[Strengths]) -> None:
        """Prepare, and change nothing until :meth:`forking` is entered.

        Args:
            layers: The decoder layers of a model with the whole adapter, which must be in these
                layers only.
            cuts: The strength of each cut in every layer.

        Raises:
            ModelError: A LoRA layer is not made of two linear layers.
        """
        self._layers = list(layers)
        self._plans: dict[int, _LayerPlan] = {}
        self._planned: Rows | None = None
        self._sliced: list[tuple[nn.Module, str, nn.Module, _SlicedLora]] = []
        adapted = [False] * len(self._layers)
        for number, layer in enumerate(self._layers):
            for parent in list(layer.modules()):
                for name, module in parent.named_children():
                    if isinstance(module, LoraLayer):
                        _refuse_other_parts(module)
                        sliced = _SlicedLora(module, self._plans, number)
                        self._sliced.append((parent, name, module, sliced))
                        adapted[number] = True
        self.beginnings = Beginnings(cuts, adapted)

    @property
    def cuts(self) -> int:
        """Number of cuts."""
        return self.beginnings.cuts

    def plan(self, rows: Rows) -> None:
        """Prepare the next passes, which have these rows; do nothing if they are prepared."""
        if rows is self._planned:
            return
        self._planned = rows
        plans = [_LayerPlan(rows, layer) for layer in range(len(self._layers))]
        self._plans.update(enumerate(plans))
        device = next(self._layers[0].parameters()).device
        device = torch.device("cpu") if device.type == "meta" else device
        indices = _moved([index for plan in plans for index in plan.indices], device)
        # in double precision, in which Python would multiply them by PEFT's scaling
        precision = torch.float32 if device.type == "mps" else torch.float64
        strengths = [None if p.strengths is None else p.strengths.to(precision) for p in plans]
        for number, (plan, own) in enumerate(zip(plans, _moved(strengths, device), strict=True)):
            plan.indices = indices[2 * number : 2 * number + 2]
            plan.strengths = own

    @contextmanager
    def forking(self) -> Iterator[None]:
        """Make passes take a row per text, and return the rows of the last layer.

        Before each of them, :meth:`plan` must have been called.
        """
        with ExitStack() as changes:
            for parent, name, module, sliced in self._sliced:
                setattr(parent, name, sliced)
                changes.callback(setattr, parent, name, module)
            for number, layer in enumerate(self._layers):
                enter = partial(self._enter, number)
                changes.enter_context(layer.register_forward_pre_hook(enter, with_kwargs=True))
            yield

    def _enter(
        self, layer: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Arguments:
        return self._plans[layer].enter(args, kwargs)


def _refuse_other_parts(module: LoraLayer) -> None:
    """Refuse a LoRA layer that does something else than multiply by A and B."""
    (name,) = module.active_adapters
    parts = [module.lora_A[name], module.lora_B[name]] if name in module.lora_A else []
    linear = parts and all(isinstance(part, nn.Linear) for part in parts)
    if not linear or module.lora_variant or isinstance(module, ParamWrapper):
        raise ModelError(
            f"LoRA on a {type(module.get_base_layer()).__name__} cannot be applied to some rows "
            f"of a batch only ({type(module).__name__})"
        )


def _unless_all(indices: Indices, below: int) -> torch.Tensor | None:
    """Return indices as a tensor; None if they take all of ``below`` rows in order."""
    if np.array_equal(indices, np.arange(below)):
        return None
    return torch.from_numpy(indices)


def _moved(
    tensors: Sequence[torch.Tensor | None], device: torch.device
) -> list[torch.Tensor | None]:
    """Move tensors of one type in a single transfer, so that no pass waits for one of its own."""
    given = [tensor for tensor in tensors if tensor is not None]
    if not given:
        return list(tensors)
    lengths = [len(tensor) for tensor in given]
    there = iter(torch.split(torch.cat(given).to(device), lengths))
    return [None if tensor is None else next(there) for tensor in tensors]
