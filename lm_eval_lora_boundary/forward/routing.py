"""The shared forward: one pass of a batch answers it under many cuts.

The decoder is handed one row per text. Before each layer, its rows are gathered from those of the
layer below (see :mod:`.rows`): where the strengths of two cuts begin to differ, a row becomes two.
All rows of a layer share one base matrix product, and LoRA runs on the first of them, as one slice
(see :mod:`.stand_ins`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..upstream.peft import LoraLayer
from .layer_plan import Arguments, LayerPlan
from .rows import Beginnings, Rows, Strengths
from .stand_ins import stand_in
from .transfers import moved


class ForkedModel:
    """The decoder layers of a PEFT model, whose passes can answer a batch under many cuts.

    Attributes:
        beginnings: The beginnings of the cuts.
        cuts: Number of cuts.
    """

    def __init__(
        self,
        layers: Iterable[nn.Module],
        cuts: Sequence[Strengths],
        per_text: Mapping[str, int] | None = None,
    ) -> None:
        """Prepare, and change nothing until :meth:`forking` is entered.

        Args:
            layers: The decoder layers of a model with the whole adapter, which must be in these
                layers only.
            cuts: The strength of each cut in every layer.
            per_text: How many items of a layer's arguments belong to each text, where a rule by
                shapes would not do; see :class:`.LayerPlan`.

        Raises:
            ModelError: LoRA cannot be applied to some rows of a batch only, or a module with LoRA
                belongs to several layers.
        """
        self._layers = list(layers)
        self._per_text = per_text or {}
        self._plans: dict[int, LayerPlan] = {}
        self._planned: Rows | None = None
        self._stand_ins: list[tuple[nn.Module, str, nn.Module, nn.Module]] = []
        adapted = [False] * len(self._layers)
        for number, layer in enumerate(self._layers):
            for parent, name, module in _outermost_lora(layer):
                if any(module is other for _, _, other, _ in self._stand_ins):
                    raise ModelError(
                        f"several decoder layers share a module with LoRA ({name}), so a layer has "
                        "no strength of its own"
                    )
                instead = stand_in(module, self._plans, number)
                self._stand_ins.append((parent, name, module, instead))
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
        plans = [LayerPlan(rows, layer, self._per_text) for layer in range(len(self._layers))]
        self._plans.update(enumerate(plans))
        device = next(self._layers[0].parameters()).device
        device = torch.device("cpu") if device.type == "meta" else device
        below = [index for plan in plans for index in plan.indices]
        indices = moved(below, [device] * len(below))
        # in double precision, in which Python would multiply them by PEFT's scaling
        precision = torch.float32 if device.type == "mps" else torch.float64
        strengths = [None if p.strengths is None else p.strengths.to(precision) for p in plans]
        there = moved(strengths, [device] * len(plans))
        for number, (plan, own) in enumerate(zip(plans, there, strict=True)):
            plan.indices = indices[2 * number : 2 * number + 2]
            plan.strengths = own

    @contextmanager
    def forking(self) -> Iterator[None]:
        """Make passes take a row per text, and return the rows of the last layer.

        Before each of them, :meth:`plan` must have been called.
        """
        with ExitStack() as changes:
            for parent, name, module, instead in self._stand_ins:
                setattr(parent, name, instead)
                changes.callback(setattr, parent, name, module)
            for number, layer in enumerate(self._layers):
                enter = partial(self._enter, number)
                changes.enter_context(layer.register_forward_pre_hook(enter, with_kwargs=True))
            yield

    def _enter(
        self, layer: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Arguments:
        return self._plans[layer].enter(args, kwargs)


def _outermost_lora(module: nn.Module) -> Iterator[tuple[nn.Module, str, LoraLayer]]:
    """Yield the LoRA layers in a module that are in no other, each with its parent and name."""
    for name, child in module.named_children():
        if isinstance(child, LoraLayer):
            yield module, name, child
        else:
            yield from _outermost_lora(child)
