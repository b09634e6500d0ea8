"""A KV cache layer with spare room, so that a new token does not copy all that came before.

transformers' own layer makes new tensors for every token; with the many rows of a sweep, on CPU,
that takes as long as the model itself.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

_SPARE = 64  # tokens


def growing(layer: Any) -> Any:
    """Return a layer that holds the same and grows in place; one of another kind as it is."""
    if type(layer) is not DynamicLayer or not layer.is_initialized:
        return layer
    return GrowingLayer(layer)


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one decoder layer, shape (rows, heads, seq, head size)."""

    def __init__(self, layer: DynamicLayer) -> None:
        """Take over the content of a layer."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_initialized = True
        self.dtype, self.device = layer.dtype, layer.device
        self.keys: torch.Tensor | None = layer.keys
        self.values: torch.Tensor | None = layer.values
        self._room: Any = (layer.keys, layer.values)  # what keys and values are the beginning of

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the keys and values of new tokens; returns views of all."""
        assert self.keys is not None and self.values is not None
        past = self.keys.shape[-2]
        length = past + key_states.shape[-2]
        if self._room[0].shape[-2] < length:
            self._room = (_roomy(self.keys, length), _roomy(self.values, length))
        keys, values = (room[..., :length, :] for room in self._room)
        keys[..., past:, :] = key_states
        values[..., past:, :] = value_states
        self.keys, self.values = keys, values
        return keys, values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows only."""
        super().batch_select_indices(indices)
        assert self.keys is not None and self.values is not None
        self._room = (self.keys, self.values)


def _roomy(content: torch.Tensor, length: int) -> torch.Tensor:
    """Return a longer tensor that begins with ``content``."""
    rows, heads, past, size = content.shape
    room = content.new_empty(rows, heads, length + _SPARE, size)
    room[..., :past, :] = content
    return room
