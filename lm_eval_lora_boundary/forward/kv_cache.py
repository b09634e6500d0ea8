"""A KV cache with room to grow, so that adding tokens does not copy all earlier ones.

transformers' own layer makes new tensors for every token. With the many rows of a sweep on a CPU,
that takes as long as the model itself.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from ..errors import ModelError
from ..upstream.transformers import DynamicLayer, LinearAttentionCacheLayerMixin
from .rows import Indices, Moves
from .transfers import moved

_SPARE = 64  # tokens


class GrowingCache(DynamicCache):
    """A cache of growing layers.

    Attributes:
        is_compileable: Whether there is padding among the tokens. transformers then makes the mask
            of a single new token right away. Otherwise it would look into the mask first, to see
            whether one is needed, and wait for the device.
    """

    is_compileable = False


def growing_cache(config: Any) -> Any:
    """Return an empty cache for a model, with room to grow in every ordinary layer.

    Sliding windows, states and other special layers are transformers' own.
    """
    cache = GrowingCache(config=config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def only_keys_and_values(cache: Any) -> bool:
    """Return whether no layer of a cache has states, in which padding would leave traces."""
    return not any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers)


def reserve(cache: Any, length: int) -> None:
    """Make a cache allocate room for ``length`` tokens when it next grows."""
    for layer in cache.layers:
        if isinstance(layer, GrowingLayer):
            layer.reserved = length


def joined(
    parts: Sequence[Any],
    rows: Sequence[Sequence[Indices]],
    columns: Sequence[int],
    past: int,
    length: int,
) -> Any:
    """Join caches of growing layers into one, and empty them.

    Args:
        parts: The caches.
        rows: For each part and layer, where its rows go. Together the parts fill each row once.
        columns: For each part, where its columns after the first ``past`` go. Gaps are 0.
        past: Number of columns that stay at the beginning.
        length: Columns of the result.
    """
    whole = copy.copy(parts[0])
    whole.layers = []
    by_layer = [torch.from_numpy(each) for layer in zip(*rows, strict=True) for each in layer]
    devices = [_device(layer) for layer in parts[0].layers for _ in parts]
    there = iter(moved(by_layer, devices))
    for layers in zip(*(part.layers for part in parts), strict=True):
        layer = copy.copy(layers[0])
        own = [next(there) for _ in parts]
        if layer.is_initialized:
            layer.join(layers, own, columns, past, length)
        whole.layers.append(layer)
        for part in layers:
            part.reset()
    return whole


def selected(cache: Any, rows: Sequence[Indices], length: int) -> Any:
    """Return a copy of a cache with some rows of each layer, which may be repeated.

    Args:
        cache: The cache.
        rows: The rows, for each layer.
        length: Number of tokens to make room for.
    """
    chosen = copy.copy(cache)
    chosen.layers = []
    there = moved([torch.from_numpy(each) for each in rows], [*map(_device, cache.layers)])
    for layer, indices in zip(cache.layers, there, strict=True):
        some = copy.copy(layer)
        if isinstance(some, GrowingLayer):
            some.reserved = length
        for name, value in vars(layer).items():
            if isinstance(value, dict):  # of states, which passes replace
                setattr(some, name, dict(value))
        _keep(some, indices)
        chosen.layers.append(some)
    return chosen


def rearrange(cache: Any, moves: Sequence[Moves], most: int) -> None:
    """Give every layer of a cache the rows that the moves lead to.

    Args:
        cache: The cache.
        moves: Those of each layer.
        most: The largest number of rows that a layer is ever going to have.
    """
    needed: list[torch.Tensor | None] = []
    for layer, move in zip(cache.layers, moves, strict=True):
        copied = move.copied
        index = None
        if isinstance(layer, GrowingLayer):
            if len(copied):
                index = torch.from_numpy(np.stack([copied, move.source[copied]]))
        elif len(copied) or any(len(move.source) != len(each) for each in _contents(layer)):
            index = torch.from_numpy(move.source)
        needed.append(index)
    there = moved(needed, [*map(_device, cache.layers)])
    for layer, move, index in zip(cache.layers, moves, there, strict=True):
        if isinstance(layer, GrowingLayer):
            layer.move(len(move.source), index, most)
        elif index is not None:
            _keep(layer, index)


def refuse_states_elsewhere(cache: Any) -> None:
    """Refuse a decoder that has read something and left the cache of a layer with states empty.

    Raises:
        ModelError: There is such a layer, so its rows could not be copied.
    """
    for number, layer in enumerate(cache.layers):
        if isinstance(layer, LinearAttentionCacheLayerMixin) and not _contents(layer):
            raise ModelError(
                f"the decoder keeps the state of layer {number} in its modules and not in the "
                "cache, so the states of several cuts cannot be told apart"
            )


def _contents(layer: Any) -> list[torch.Tensor]:
    """Return the tensors of a layer, each of which has a row for every row of the layer."""
    found = [getattr(layer, "keys", None), getattr(layer, "values", None)]
    for states in ("conv_states", "recurrent_states"):
        found += getattr(layer, states, {}).values()
    return [tensor for tensor in found if tensor is not None]


def _device(layer: Any) -> torch.device:
    """Return where a layer's content is; the host if there is none."""
    return next((tensor.device for tensor in _contents(layer)), torch.device("cpu"))


def _keep(layer: Any, index: torch.Tensor | None) -> None:
    """Keep some rows of a layer, which may be repeated: keys and values, or states, or both."""
    if index is None or not _contents(layer):
        return
    if getattr(layer, "keys", None) is not None:
        layer.batch_select_indices(index)
    # states do not have a length; passes write into them, so they are copied
    for states in (getattr(layer, name, {}) for name in ("conv_states", "recurrent_states")):
        for which, state in states.items():
            if state is not None:
                states[which] = state.index_select(0, index)


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one decoder layer, shape (rows, heads, seq, head size).

    They lie at the beginning of larger tensors, so that rows and tokens can be added in place.

    Attributes:
        reserved: Tokens to make room for when the layer next grows.
    """

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.reserved = 0
        self._room: Any = None  # the larger tensors, for keys and for values

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Start with no tokens, without copying anything to the device."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states[..., :0, :], value_states[..., :0, :]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the keys and values of new tokens, and return views of all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, begin = key_states.shape[0], self.keys.shape[-2]  # type: ignore[union-attr]
        end = begin + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < end:
            self._grow(rows, max(self.reserved, end + _SPARE))
        keys, values = (room[:rows, :, :end] for room in self._room)
        keys[..., begin:, :] = key_states
        values[..., begin:, :] = value_states
        self.keys, self.values = keys, values
        return keys, values

    def _grow(self, rows: int, length: int) -> None:
        """Move the content to larger tensors, one after the other."""
        contents: list[Any] = [self.keys, self.values]
        self.keys = self.values = self._room = None
        grown = []
        while contents:
            content = contents.pop(0)
            _, heads, past, width = content.shape
            room = content.new_empty(rows, heads, length, width)
            room[: len(content), :, :past] = content
            grown.append(room)
        self._room = tuple(grown)
        self.keys, self.values = (room[: len(content), :, :past] for room in grown)

    def move(self, rows: int, copied: torch.Tensor | None, most: int) -> None:
        """Give the layer other rows.

        Args:
            rows: Their number.
            copied: Those that do not lie where their source lay, and these sources, shape
                (2, copied); None if there are none.
            most: The largest number of rows that the layer is ever going to have.
        """
        assert self.keys is not None
        length = self.keys.shape[-2]
        if len(self._room[0]) < rows:
            grown = min(most, len(self._room[0]) * 3 // 2)
            self._grow(max(rows, grown), self._room[0].shape[-2])
        if copied is not None:
            target, source = copied
            for room in self._room:
                # all sources are read before any row is written
                room[:, :, :length].index_copy_(0, target, room[:, :, :length][source])
        self.keys, self.values = (room[:rows, :, :length] for room in self._room)

    def join(
        self,
        layers: Sequence[GrowingLayer],
        rows: Sequence[torch.Tensor],
        columns: Sequence[int],
        past: int,
        length: int,
    ) -> None:
        """Take the content of several layers; see :func:`joined`."""
        count = sum(map(len, rows))
        both: list[torch.Tensor] = []
        for contents in zip(*((layer.keys, layer.values) for layer in layers), strict=True):
            _, heads, _, width = contents[0].shape
            # zeros, since attention multiplies what it masks by 0
            room = contents[0].new_zeros(count, heads, length + _SPARE, width)
            for content, index, first in zip(contents, rows, columns, strict=True):
                end = first + content.shape[-2]
                room[index, :, :past] = content[..., :past, :]
                room[index, :, past + first : end] = content[..., past:, :]
            both.append(room)
        self._room = tuple(both)
        self.keys, self.values = (room[..., :length, :] for room in both)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows only, with room for the reserved tokens."""
        assert self.keys is not None
        length = self.keys.shape[-2]
        room = []
        contents: Any = (self.keys, self.values)
        for content in contents:
            _, heads, _, width = content.shape
            new = content.new_empty(len(indices), heads, max(self.reserved, length), width)
            torch.index_select(content, 0, indices, out=new[:, :, :length])
            room.append(new)
        self._room = tuple(room)
        self.keys, self.values = (content[..., :length, :] for content in room)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._room = None
