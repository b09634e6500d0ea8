"""Modules that stand in for those with LoRA, and apply it to some rows of a batch only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import frexp
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear

from ..errors import ModelError
from ..upstream.peft import LoraLayer, ParamWrapper, unlike_lora
from .layer_plan import LayerPlan, Part

Plans = Mapping[int, LayerPlan]


def stand_in(module: LoraLayer, plans: Plans, layer: int) -> nn.Module:
    """Return what stands in for a module with LoRA.

    Args:
        module: The module.
        plans: What the modules of each layer know about the next pass.
        layer: The layer of the module.

    Raises:
        ModelError: The LoRA cannot be applied to some rows of a batch only.
    """
    if isinstance(module, ParamWrapper):
        return SplitRows(module, plans, layer)
    return SlicedLora(module, plans, layer)


class _StandIn(nn.Module):
    """Stands in for a LoRA layer, which is held in a way that the model has it only once."""

    def __init__(self, lora: Any, plans: Plans, layer: int) -> None:
        super().__init__()
        self._lora = (lora,)
        self._plans = plans
        self._layer = layer

    def __getattr__(self, name: str) -> Any:
        """Return what the decoder asks of the module, such as its weight's dtype."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._lora[0], name)


@dataclass(frozen=True)
class _Parts:
    """What a LoRA layer computes with."""

    base: Any
    a: Callable[[torch.Tensor], torch.Tensor]
    b: Callable[[torch.Tensor], torch.Tensor]
    dtype: torch.dtype
    scaling: float


class SlicedLora(_StandIn):
    """Applies LoRA to the first rows only, after one base product for all rows."""

    def __init__(self, lora: Any, plans: Plans, layer: int) -> None:
        """Take a LoRA layer made of two linear layers; see :func:`stand_in`."""
        super().__init__(lora, plans, layer)
        (name,) = lora.active_adapters
        a, b = (dict(part.items()).get(name) for part in (lora.lora_A, lora.lora_B))
        if not isinstance(a, nn.Linear) or not isinstance(b, nn.Linear):
            raise _refusal(lora)
        if unlike_lora(lora) is not None or len(_lora_layers(lora)) > 1:
            raise _refusal(lora)
        products = _without_module(a), _without_module(b)
        self._parts = _Parts(lora.base_layer, *products, a.weight.dtype, lora.scaling[name])

    def forward(self, inputs: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the base layer's output, with LoRA added to the rows that have it."""
        parts, plan = self._parts, self._plans[self._layer]
        result: torch.Tensor = parts.base(inputs, *args, **kwargs)
        if count := plan.slice(inputs):
            # On a GPU, and with few rows on a CPU, a step takes the time that the host needs to
            # call its operations. So there is none that can be left out, not even a view.
            every = count == len(inputs)
            adapted = inputs if every else inputs[:count]
            if adapted.dtype != parts.dtype:
                adapted = adapted.to(parts.dtype)
            update = parts.b(parts.a(adapted))
            changed = result if every else result[:count]
            factor = plan.factor(parts.scaling, update)
            if isinstance(factor, float) and frexp(factor)[0] == 0.5:
                # times a power of two, nothing is rounded, so both operations can be one
                changed.add_(update, alpha=factor)
            else:
                # in place: the product has the precision of the update, as in PEFT
                changed.add_(update.mul_(factor))
        return result


class SplitRows(_StandIn):
    """Runs a module once with LoRA and once without, each time on the rows that want it so.

    For LoRA on a parameter, such as the weights of all experts: PEFT adds it to the weights, which
    are then the same for all inputs. Rows of other strengths take a run of their own. That is right
    for modules that treat every token by itself, as routers and experts do.
    """

    def __init__(self, lora: Any, plans: Plans, layer: int) -> None:
        """Take the outermost of the wrappers that PEFT has put around a module."""
        super().__init__(lora, plans, layer)
        layers = _lora_layers(lora)
        if not all(isinstance(each, ParamWrapper) for each in layers):
            raise _refusal(lora)
        self._base = (lora.get_base_layer(),)
        self._experts = max(each.num_experts for each in layers)
        self._scalings = [(each.scaling, dict(each.scaling)) for each in layers]

    def forward(self, inputs: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return the module's output for all rows."""
        plan = self._plans[self._layer]
        copies = plan.copies(inputs, self._experts)
        if len(plan.parts) == 1:
            return self._run(plan.parts[0].strength, (inputs, *args), kwargs)
        results = []
        for part in plan.parts:
            some = [_selected(plan, value, copies, part) for value in (inputs, *args)]
            named = {key: _selected(plan, value, copies, part) for key, value in kwargs.items()}
            results.append(self._run(part.strength, some, named))
        return _joined(plan, results, copies)

    def _run(self, strength: float, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if strength == 0:
            return self._base[0](*args, **kwargs)
        with self._scaled(strength):
            return self._lora[0](*args, **kwargs)

    @contextmanager
    def _scaled(self, strength: float) -> Iterator[None]:
        """Scale the LoRA as PEFT's ``scale_layer`` does."""
        if strength == 1:
            yield
            return
        for scaling, whole in self._scalings:
            scaling.update({name: value * strength for name, value in whole.items()})
        try:
            yield
        finally:
            for scaling, whole in self._scalings:
                scaling.update(whole)


def _selected(plan: LayerPlan, value: Any, copies: int, part: Part) -> Any:
    """Return what belongs to the rows of a part."""
    if not isinstance(value, torch.Tensor):
        return value
    chosen = plan.by_row(value, copies)[:, part.where(value.device)]
    return chosen.reshape(-1, *value.shape[1:])


def _joined(plan: LayerPlan, results: Sequence[Any], copies: int) -> Any:
    """Put the outputs of all parts together."""
    first = results[0]
    if isinstance(first, tuple):
        return tuple(_joined(plan, each, copies) for each in zip(*results, strict=True))
    if not isinstance(first, torch.Tensor):
        return first
    pieces = [
        plan.by_row(result, copies, part.rows)
        for part, result in zip(plan.parts, results, strict=True)
    ]
    rows = sum(part.rows for part in plan.parts)
    whole = first.new_empty(copies, rows, *pieces[0].shape[2:])
    for part, piece in zip(plan.parts, pieces, strict=True):
        whole[:, part.where(whole.device)] = piece
    return whole.flatten(0, 2)


def _without_module(module: nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what a linear layer computes; calling the module takes the host as long again.

    A module that is called in a way of its own, as accelerate does to load its weights first, is
    returned itself.
    """
    own = vars(module)
    hooked = any(own.get(name) for name in ("forward", "_forward_hooks", "_forward_pre_hooks"))
    if type(module) is not nn.Linear or hooked:
        return module
    weight, bias = module.weight, module.bias
    return lambda inputs: linear(inputs, weight, bias)


def _lora_layers(module: nn.Module) -> list[Any]:
    """Return a LoRA layer and those inside it."""
    return [each for each in module.modules() if isinstance(each, LoraLayer)]


def _refusal(module: Any) -> ModelError:
    return ModelError(
        f"LoRA on a {type(module.get_base_layer()).__name__} cannot be applied to some rows "
        f"of a batch only ({type(module).__name__})"
    )
