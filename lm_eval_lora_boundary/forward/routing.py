"""The shared forward: one pass of a batch answers it under every boundary.

The rows of a batch start as one *trunk*, which runs with LoRA. Before layer ``K+1``, boundary
``K`` branches off: a copy of the trunk rows that runs without LoRA from there on. All rows share
one base matrix product per layer, and LoRA runs on the trunk rows only. With D documents and all
N+1 boundaries, that is about D·(N+1)(N+2)/2 layer passes instead of D·N·(N+1).

In generation, every cache layer has its own number of rows after the prompt. They are then
expanded to one row per document and boundary. Decoding goes on as an ordinary batch, in which
each layer applies LoRA to the rows whose boundary is not below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

_BASE = "__base__"  # PEFT's name for "no adapter" in a mixed batch
_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass
class _Rows:
    """Rows of a batch: how many, and how many of them run with LoRA. Those come first."""

    total: int
    trunk: int


class ForkedModel:
    """A PEFT model whose forward pass answers a batch under several boundaries at once.

    Attributes:
        boundaries: The boundaries, descending: the order of the rows that come out.
        layers: Number of decoder layers.
    """

    def __init__(self, layers: Iterable[nn.Module], boundaries: Iterable[int]) -> None:
        """Prepare, and change nothing until :meth:`forking` or :meth:`routing` is entered.

        Args:
            layers: The decoder layers of a model with the whole adapter, which must be in these
                layers only.
            boundaries: Distinct boundaries in ``-1..N-1``.
        """
        self.boundaries = sorted(boundaries, reverse=True)
        self._layers: list[nn.Module] = list(layers)
        self.layers = len(self._layers)
        self._lora = [
            [m for m in layer.modules() if isinstance(m, LoraLayer)] for layer in self._layers
        ]
        self._top = self.boundaries[0]

    def blocks(self, layer: int) -> list[int]:
        """Return, for each boundary, its block of rows within a layer of a forked pass.

        Block 0 is the trunk. Boundaries that have branched off have their own blocks, ascending.
        """
        ascending = self.boundaries[::-1]
        return [
            0 if boundary >= layer or boundary == self._top else 1 + ascending.index(boundary)
            for boundary in self.boundaries
        ]

    @contextmanager
    def forking(self, documents: int) -> Iterator[None]:
        """Make forward passes fork: D rows go in, and a block of D rows per boundary comes out.

        The blocks are in the order that :meth:`blocks` gives for layer N.
        """
        rows = _Rows(documents, documents)
        with ExitStack() as hooks:
            for index, (layer, lora) in enumerate(zip(self._layers, self._lora, strict=True)):
                fork = partial(self._fork, rows, documents, index)
                hooks.enter_context(layer.register_forward_pre_hook(fork, with_kwargs=True))
                _route(hooks, lora, rows)
            yield

    @contextmanager
    def routing(self, boundaries: Sequence[int]) -> Iterator[None]:
        """Make each row of a forward pass run under its own boundary (descending)."""
        with ExitStack() as hooks:
            for index, lora in enumerate(self._lora):
                trunk = sum(boundary >= index for boundary in boundaries)
                _route(hooks, lora, _Rows(len(boundaries), trunk))
            yield

    def _fork(
        self,
        rows: _Rows,
        documents: int,
        index: int,
        _: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> _Arguments:
        """Let the boundary below a layer branch off before the layer runs."""
        if index == 0:
            rows.total = rows.trunk = documents
        hidden = args[0] if args else kwargs["hidden_states"]
        if index - 1 in self.boundaries and index - 1 != self._top:
            hidden = torch.cat([hidden, hidden[:documents]])
            rows.total += documents
        if index > self._top:
            rows.trunk = 0
        repeats = rows.total // documents
        kwargs = {k: _repeat(v, documents, repeats) for k, v in kwargs.items()}
        if not args:
            return (), kwargs | {"hidden_states": hidden}
        return (hidden, *(_repeat(value, documents, repeats) for value in args[1:])), kwargs


def _route(hooks: ExitStack, lora: Iterable[nn.Module], rows: _Rows) -> None:
    """Make LoRA layers apply LoRA to the first ``rows.trunk`` rows only, until ``hooks`` exits."""

    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Arguments | None:
        if rows.trunk == rows.total:
            return None
        (adapter,) = module.active_adapters
        names = [adapter] * rows.trunk + [_BASE] * (rows.total - rows.trunk)
        return args, kwargs | {"adapter_names": names}

    for module in lora:
        hooks.enter_context(module.register_forward_pre_hook(hook, with_kwargs=True))


def _repeat(value: Any, documents: int, repeats: int) -> Any:
    """Repeat what has one row per document, such as masks and position embeddings."""
    if isinstance(value, torch.Tensor):
        if repeats > 1 and value.ndim > 1 and value.shape[0] == documents:
            return value.repeat(repeats, *[1] * (value.ndim - 1))
        return value
    if isinstance(value, tuple):
        return tuple(_repeat(item, documents, repeats) for item in value)
    return value
