"""A KV cache with room to grow, so that adding tokens does not copy all earlier ones.

transformers' own layer makes new tensors for every token. With the many rows of a sweep on a CPU,
that takes as long as the model itself.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_SPARE = 64  # tokens


def growing_cache(config: Any) -> Any:
    """Return an empty cache for a model, with room to grow in every ordinary layer.

    Sliding windows and other special layers are transformers' own.
    """
    cache = DynamicCache(config=config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def reserve(cache: Any, length: int) -> None:
    """Make a cache allocate room for ``length`` tokens when it next grows."""
    for layer in cache.layers:
        if isinstance(layer, GrowingLayer):
            layer.reserved = length


def joined(
    parts: Sequence[Any],
    rows: Sequence[Sequence[int]],
    columns: Sequence[int],
    past: int,
    length: int,
) -> Any:
    """Join caches of growing layers into one, and empty them.

    Args:
        parts: The caches. Each of their layers has one or more blocks of rows.
        rows: For each part, which rows of every block of the result it fills. Together the parts
            fill each row once.
        columns: For each part, where its columns after the first ``past`` go. Gaps are 0.
        past: Number of columns that stay at the beginning.
        length: Columns of the result.
    """
    whole = copy.copy(parts[0])
    whole.layers = []
    for layers in zip(*(part.layers for part in parts), strict=True):
        layer = copy.copy(layers[0])
        if layer.is_initialized:
            layer.join(layers, rows, columns, past, length)
        whole.layers.append(layer)
        for part in layers:
            part.reset()
    return whole


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one decoder layer, shape (rows, heads, seq, head size).

    Attributes:
        reserved: Tokens to make room for when the layer next grows.
    """

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.reserved = 0
        self._room: Any = None  # longer tensors that begin with the keys and the values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the keys and values of new tokens, and return views of all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[..., :0, :], value_states[..., :0, :]
        past: Any = (self.keys, self.values)
        begin = past[0].shape[-2]
        end = begin + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < end:
            size = max(self.reserved, end + _SPARE)
            self._room = tuple(_roomy(content, size) for content in past)
        keys, values = (room[..., :end, :] for room in self._room)
        keys[..., begin:, :] = key_states
        values[..., begin:, :] = value_states
        self.keys, self.values = keys, values
        return keys, values

    def join(
        self,
        layers: Sequence[GrowingLayer],
        rows: Sequence[Sequence[int]],
        columns: Sequence[int],
        past: int,
        length: int,
    ) -> None:
        """Take the content of several layers; see :func:`joined`."""
        blocks = len(layers[0].keys) // len(rows[0])  # type: ignore[arg-type]
        count = sum(map(len, rows))
        both: list[torch.Tensor] = []
        for contents in zip(*((layer.keys, layer.values) for layer in layers), strict=True):
            _, heads, _, width = contents[0].shape
            # zeros, since attention multiplies what it masks by 0
            room = contents[0].new_zeros(blocks, count, heads, length + _SPARE, width)
            for content, own, first in zip(contents, rows, columns, strict=True):
                content = content.view(blocks, len(own), *content.shape[1:])
                index = torch.tensor(own, device=room.device)
                end = first + content.shape[-2]
                room[:, index, :, :past] = content[..., :past, :]
                room[:, index, :, past + first : end] = content[..., past:, :]
            both.append(room.flatten(0, 1))
        self._room = tuple(both)
        self.keys, self.values = (room[..., :length, :] for room in both)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows only, with their room."""
        if self._room is None:
            super().batch_select_indices(indices)
            return
        length = self.keys.shape[-2]  # type: ignore[union-attr]
        self._room = tuple(content.index_select(0, indices) for content in self._room)
        self.keys, self.values = (content[..., :length, :] for content in self._room)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._room = None


def _roomy(content: torch.Tensor, size: int) -> torch.Tensor:
    """Return a longer tensor that begins with ``content``."""
    rows, heads, past, width = content.shape
    room = content.new_empty(rows, heads, size, width)
    room[..., :past, :] = content
    return room
