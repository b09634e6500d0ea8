"""The shared forward: one pass of a batch answers it under every boundary.

The rows of a batch start as one *trunk*, under LoRA. Before layer ``K+1``, a boundary ``K``
branches off: a copy of the trunk rows that runs without LoRA from there on. All rows share one
base matrix product per layer; LoRA arithmetic is done on the trunk rows only. With D documents and
all N+1 boundaries that is about D·(N+1)(N+2)/2 layer passes instead of D·N·(N+1).

In generation, every cache layer ends up with its own number of rows. After the prompt they are
brought to one row per document and boundary, and decoding goes on as an ordinary batch in which
each layer applies LoRA to the rows whose boundary is not below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

_BASE = "__base__"  # PEFT's name for "no adapter" in a mixed batch


class ForkedModel:
    """A PEFT model whose forward pass answers a batch under several boundaries at once.

    Attributes:
        boundaries: The boundaries, descending: the order of the rows that come out.
        layers: Number of decoder layers.
    """

    def __init__(self, layers: Iterable[nn.Module], boundaries: Iterable[int]) -> None:
        """Prepare; changes nothing until :meth:`forking` or :meth:`routing` is entered.

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
        """Return, for each boundary, which block of rows it has within a layer of a forked pass.

        Block 0 is the trunk; a boundary that has branched off has a block of its own, in the order
        of branching, which is ascending.
        """
        ascending = self.boundaries[::-1]
        return [
            0 if boundary >= layer or boundary == self._top else 1 + ascending.index(boundary)
            for boundary in self.boundaries
        ]

    @contextmanager
    def forking(self, documents: int) -> Iterator[None]:
        """Let forward passes fork: ``documents`` rows go in, a block per boundary comes out.

        The rows come out in blocks as :meth:`blocks` of layer N tells.

        Args:
            documents: Rows of the input, D.
        """
        state = _Rows(documents)
        handles = []
        for index, (layer, adapted) in enumerate(zip(self._layers, self._lora, strict=True)):
            branch = index - 1 in self.boundaries and index - 1 != self._top

            def before_layer(
                _: nn.Module,
                args: tuple[Any, ...],
                kwargs: dict[str, Any],
                index: int = index,
                branch: bool = branch,
            ) -> tuple[tuple[Any, ...], dict[str, Any]]:
                if index == 0:
                    state.total = state.trunk = documents
                hidden = args[0] if args else kwargs["hidden_states"]
                if branch:
                    hidden = torch.cat([hidden, hidden[:documents]])
                    state.total += documents
                if index > self._top:
                    state.trunk = 0
                repeats = state.total // documents
                kwargs = {k: _repeat(v, documents, repeats) for k, v in kwargs.items()}
                rest = tuple(_repeat(value, documents, repeats) for value in args[1:])
                if args:
                    return (hidden, *rest), kwargs
                return rest, kwargs | {"hidden_states": hidden}

            handles.append(layer.register_forward_pre_hook(before_layer, with_kwargs=True))
            handles += [
                m.register_forward_pre_hook(self._route(state), with_kwargs=True) for m in adapted
            ]
        with _removing(handles):
            yield

    @contextmanager
    def routing(self, boundaries: Sequence[int]) -> Iterator[None]:
        """Let each row of a forward pass run under its own boundary.

        Args:
            boundaries: Boundary of every row, descending.
        """
        handles = []
        for index, adapted in enumerate(self._lora):
            state = _Rows(len(boundaries))
            state.trunk = sum(boundary >= index for boundary in boundaries)
            handles += [
                m.register_forward_pre_hook(self._route(state), with_kwargs=True) for m in adapted
            ]
        with _removing(handles):
            yield

    def _route(self, state: _Rows) -> Any:
        """Return a hook that applies LoRA to the first ``state.trunk`` rows only."""

        def hook(
            module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
            if state.trunk == state.total:
                return None
            (adapter,) = module.active_adapters
            names = [adapter] * state.trunk + [_BASE] * (state.total - state.trunk)
            return args, kwargs | {"adapter_names": names}

        return hook


class _Rows:
    """Rows of a batch: how many, and how many of them, the first ones, are under LoRA."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.trunk = total


def _repeat(value: Any, documents: int, repeats: int) -> Any:
    """Repeat whatever has one row per document; masks and position embeddings do."""
    if isinstance(value, torch.Tensor):
        if repeats > 1 and value.ndim > 1 and value.shape[0] == documents:
            return value.repeat(repeats, *[1] * (value.ndim - 1))
        return value
    if isinstance(value, tuple):
        return tuple(_repeat(item, documents, repeats) for item in value)
    return value


@contextmanager
def _removing(handles: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
