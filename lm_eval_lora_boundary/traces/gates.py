"""Gates: a factor on the LoRA of every layer, one for each row of a batch.

A gate multiplies what the LoRA of a layer adds, as a strength does. It is a tensor, so a backward
pass gives the derivative by it. Everything here holds within a ``with`` block and is undone at its
end; the backward pass must run within the block too, because checkpointed layers run again in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..cuts.cut import LoraCut
from ..forward.loglikelihood import Batch
from ..upstream.peft import LoraLayer, ParamWrapper
from .replaced import replaced_forwards


class InseparableError(Exception):
    """A layer does not see the rows of a batch one after the other."""


@dataclass(frozen=True)
class _Part:
    """A LoRA layer, and whether its input may hold a part of the tokens only, as experts' do."""

    layer: Any
    depth: int
    expert: bool


class Gates:
    """Puts gates on the LoRA of a model."""

    def __init__(self, cut: LoraCut) -> None:
        """Find the LoRA layers; this changes nothing.

        Args:
            cut: The model, at the whole adapter whenever the gates are in use.
        """
        self._model = cut.model
        self._stack = cut.stack
        self._parts = [
            _Part(layer, module.depth, self._is_expert(module.name))
            for module in cut.modules
            if module.adapted is not None
            for layer in module.adapted.modules()
            if isinstance(layer, LoraLayer)
        ]

    def _is_expert(self, name: str) -> bool:
        """Return whether a module is in a list inside its layer, such as ``experts.5``."""
        _, inside, rest = name.partition(f"{self._stack.path}.")
        return bool(inside) and any(part.isdigit() for part in rest.split(".")[1:])

    @property
    def separable(self) -> bool:
        """Whether rows of a batch can have gates of their own, as far as the modules show it."""
        return not any(part.expert or isinstance(part.layer, ParamWrapper) for part in self._parts)

    @contextmanager
    def at(self, strength: float, batch: Batch) -> Iterator[torch.Tensor]:
        """Put gates on all layers for the rows of a batch.

        Args:
            strength: The value of all gates.
            batch: What the model runs on, within the block only.

        Yields:
            The gates, ``(layers, batch)``. They require a gradient, and nothing else does.

        Raises:
            InseparableError: In the model's forward pass, if a layer does not see the rows of the
                batch one after the other. This cannot happen with a single row.
        """
        # the gates must not round more than the model does
        dtype = torch.promote_types(self._model.dtype, torch.float32)
        shape = (self._stack.count, len(batch.inputs))
        gates = torch.full(shape, strength, dtype=dtype, device=batch.inputs.device)
        gates.requires_grad_()
        with ExitStack() as scope:
            scope.enter_context(_frozen(self._model))
            for part in self._parts:
                _gate(scope, part.layer, gates[part.depth], batch)
            yield gates


def _gate(scope: ExitStack, layer: Any, gate: torch.Tensor, batch: Batch) -> None:
    """Put the gates of a batch, ``(batch,)``, on a LoRA layer."""
    if isinstance(layer, ParamWrapper):  # LoRA on a tensor, all rows of the batch share it
        if len(gate) > 1:
            raise InseparableError(type(layer).__name__)
        for matrix in layer.lora_B.values():
            scope.enter_context(_scaled_weight(matrix, gate))
        return
    for matrix in layer.lora_B.values():
        scope.enter_context(_hook(matrix, gate, batch))
    if layer.lora_embedding_B:  # not a module; its output is (batch, seq, hidden)
        before = dict(layer.scaling)
        scope.callback(layer.scaling.update, before)
        layer.scaling.update((name, value * gate.view(-1, 1, 1)) for name, value in before.items())


def _hook(matrix: nn.Module, gate: torch.Tensor, batch: Batch) -> AbstractContextManager[Any]:
    """Multiply what goes through the second matrix of a LoRA by the gates of a batch.

    Its input has few columns, which are all that the backward pass must keep. Only a bias must be
    multiplied too, so that the output is used.
    """

    def multiplied(values: torch.Tensor) -> torch.Tensor:
        return (values * _as_factor(gate, values, batch)).to(values.dtype)

    if getattr(matrix, "bias", None) is None:  # block-diagonal matrices do not even have one
        return matrix.register_forward_pre_hook(lambda _, inputs: (multiplied(inputs[0]),))
    return matrix.register_forward_hook(lambda _, __, output: multiplied(output))


def _as_factor(gate: torch.Tensor, values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return gates ``(batch,)`` in a shape that multiplies the input or output of a module.

    These values are ``(batch, seq, …)`` or ``(batch × seq, …)``; at the head, ``(1, scored, …)``.
    """
    gate = gate.to(values.device)
    rows, seq = batch.inputs.shape
    if rows == 1:
        return gate.view(())
    if values.shape[:2] == (rows, seq) and values.dim() == 3:
        return gate.view(rows, 1, 1)
    if values.shape[0] == rows * seq and values.dim() == 2:
        return gate.repeat_interleave(seq).unsqueeze(1)
    if values.shape[:2] == (1, len(batch.rows)) and values.dim() == 3:
        return gate[batch.rows.to(gate.device)].view(1, -1, 1)
    raise InseparableError(f"values {tuple(values.shape)} for inputs {(rows, seq)}")


@contextmanager
def _scaled_weight(matrix: nn.Module, gate: torch.Tensor) -> Iterator[None]:
    """Multiply the weight of a module by a gate, ``(1,)``."""
    own = dict(matrix._parameters)
    weight = matrix._parameters.pop("weight")
    assert weight is not None
    matrix.weight = (weight * gate.to(weight.device)).to(weight.dtype)
    try:
        yield
    finally:
        del matrix.weight
        matrix._parameters.clear()
        matrix._parameters.update(own)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Let no parameter require a gradient, so that none is computed or kept in memory."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_()


def checkpointed(layers: Sequence[nn.Module]) -> AbstractContextManager[None]:
    """Keep only the inputs of layers for the backward pass, which runs each layer again.

    The library's own switch works in training only, and would turn on dropout.
    """
    # without dropout there is no random state to keep
    again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
    return replaced_forwards(layers, [partial(again, layer.forward) for layer in layers])
