"""Documents that are being read under every boundary at once, and the KV cache of that."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .kv_cache import GrowingLayer, growing_cache, joined, reserve
from .routing import ForkedModel
from .split_model import SplitModel

# tokens × rows of the widest layer in one pass: enough to keep matrix products busy, and little
# enough for activations to stay small, whatever the length of a prompt
_AT_ONCE = 4096
_PADDING = 0.1  # share of padding in a pass, above which documents are read apart
_COPIED = 128  # columns of a cache that are copied in the time that it takes to read a token
_FEW = 64  # tokens in a pass, below which padding does not matter


class Branches:
    """Documents read in forked passes: every cache layer has its own number of rows.

    Attributes:
        documents: Number of documents, D.
        mask: 1 for every token of a document, 0 for padding, shape (D, past).
        cache: The model's KV cache. A layer holds one block of D rows for the trunk and one for
            every boundary that has branched off below it.
    """

    def __init__(
        self,
        model: SplitModel,
        forked: ForkedModel,
        mask: torch.Tensor,
        cache: Any | None = None,
        *,
        piecewise: bool = True,
    ) -> None:
        """Start to read.

        Args:
            model: The model.
            forked: Its routing.
            mask: Mask of what has been read, shape (D, past); (D, 0) at the start.
            cache: What has been read.
            piecewise: Read long texts piece by piece.
        """
        self._model = model
        self._forked = forked
        self._piecewise = piecewise
        self.documents = len(mask)
        self.mask = mask
        self.cache = cache or growing_cache(model.decoder.config)

    def read(self, tokens: torch.Tensor, mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Read on, in forked passes.

        Args:
            tokens: Token ids, shape (D, seq).
            mask: 0 for padding, shape (D, seq).
            places: Where states are wanted: row and column, shape (places, 2).

        Returns:
            States for the head, shape (boundaries, places, hidden), boundaries descending.
        """
        groups = self._groups(mask)
        if len(groups) == 1:
            return self._read_together(tokens, mask, places)
        found: torch.Tensor | None = None
        parts, columns = [], []
        for group in groups:
            documents = torch.tensor(group, device=tokens.device)
            used = mask[documents].any(dim=0).nonzero().squeeze(1)
            first, end = int(used[0]), int(used[-1]) + 1
            part = self.select(group)
            here = torch.isin(places[:, 0], documents).nonzero().squeeze(1)
            # the group's own numbers of documents, and of columns
            row = (places[here, :1] == documents).nonzero()[:, 1]
            inside = torch.stack([row, places[here, 1] - first], dim=1)
            some = slice(first, end)
            states = part._read_together(tokens[documents, some], mask[documents, some], inside)
            if found is None:
                found = states.new_empty((len(states), len(places), states.shape[-1]))
            found[:, here.to(states.device)] = states
            parts.append(part.cache)
            columns.append(first)
        assert found is not None
        past = self.mask.shape[1]
        self.mask = torch.cat([self.mask, mask], dim=1)
        self.cache = joined(parts, groups, columns, past, self.mask.shape[1])
        return found

    def _groups(self, mask: torch.Tensor) -> list[list[int]]:
        """Return documents of about the same length, which are read together.

        What is read in vain for documents that are shorter than others would be read under all
        boundaries.
        """
        lengths = mask.sum(dim=1).tolist()
        groups: list[list[int]] = []
        for document in sorted(range(len(lengths)), key=lambda each: -lengths[each]):
            if groups:
                grown = [*groups[-1], document]
                read = len(grown) * lengths[grown[0]]
                if read <= _FEW or sum(lengths[i] for i in grown) >= (1 - _PADDING) * read:
                    groups[-1] = grown
                    continue
            groups.append([document])
        saved = mask.numel() - sum(len(group) * lengths[group[0]] for group in groups)
        copied = len(lengths) * (self.mask.shape[1] + mask.shape[1])
        ordinary = all(isinstance(layer, GrowingLayer) for layer in self.cache.layers)
        if not self._piecewise or not ordinary or saved * _COPIED <= copied:
            return [list(range(len(lengths)))]
        return [sorted(group) for group in groups]

    def _read_together(
        self, tokens: torch.Tensor, mask: torch.Tensor, places: torch.Tensor
    ) -> torch.Tensor:
        """Read on, all documents at once."""
        width = tokens.shape[1]
        step = max(1, _AT_ONCE // (self.documents * len(self._forked.boundaries)))
        step = step if self._piecewise else width
        reserve(self.cache, self.mask.shape[1] + width)
        index = torch.tensor(self._forked.blocks(self._forked.layers), device=tokens.device)
        found: torch.Tensor | None = None
        for start in range(0, width, step):
            piece = slice(start, start + step)
            self.mask = torch.cat([self.mask, mask[:, piece]], dim=1)
            with self._forked.forking(self.documents):
                states = self._model.hidden(tokens[:, piece], self.mask, self.cache)
            blocks = states.view(-1, self.documents, *states.shape[1:])
            if found is None:  # the last layer may be on another device than the first
                index, places = index.to(states.device), places.to(states.device)
                found = states.new_empty((len(index), len(places), states.shape[-1]))
            here = ((places[:, 1] >= start) & (places[:, 1] < start + step)).nonzero().squeeze(1)
            rows, columns = places[here, 0], places[here, 1] - start
            found[:, here] = blocks[:, rows, columns][index]
        assert found is not None
        return found

    def select(self, documents: Sequence[int]) -> Branches:
        """Return a copy with these documents, repeated as often as they are named."""
        chosen = torch.tensor(documents)

        def rows(_: int, layer: Any) -> torch.Tensor:
            blocks = torch.arange(len(layer.keys) // self.documents).unsqueeze(1)
            return (blocks * self.documents + chosen).flatten()

        mask = self.mask[chosen.to(self.mask.device)]
        cache = _selected(self.cache, rows)
        return Branches(self._model, self._forked, mask, cache, piecewise=self._piecewise)

    def rows(
        self, pairs: Sequence[tuple[int, int]], *, last: bool = True
    ) -> tuple[Any, torch.Tensor]:
        """Return cache and mask with one row per pair, to decode with.

        Args:
            pairs: Which boundary, as an index into those of the forked passes, and which document.
            last: Forget what has been read, layer by layer, so that it is not in memory twice.
        """
        boundaries = [boundary for boundary, _ in pairs]
        documents = torch.tensor([document for _, document in pairs])

        def rows(number: int, _: Any) -> torch.Tensor:
            blocks = torch.tensor(self._forked.blocks(number))
            return blocks[boundaries] * self.documents + documents

        cache = _selected(self.cache, rows, consume=last)
        return cache, self.mask[documents.to(self.mask.device)]


def _selected(
    cache: Any, rows: Callable[[int, Any], torch.Tensor], *, consume: bool = False
) -> Any:
    """Return a copy of a cache with the rows that ``rows(number, layer)`` tells for each layer."""
    chosen = copy.copy(cache)
    chosen.layers = []
    for number, layer in enumerate(cache.layers):
        selected = copy.copy(layer)
        if layer.is_initialized:
            selected.batch_select_indices(rows(number, layer).to(layer.keys.device))
            if consume:
                layer.reset()
        chosen.layers.append(selected)
    return chosen
