"""Read documents under every boundary at once, into one KV cache."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .kv_cache import GrowingLayer, growing_cache, joined, reserve
from .routing import ForkedModel
from .split_model import SplitModel

# Tokens × rows of the widest layer in one pass. This is enough to keep matrix products busy, and
# keeps activations small for any length of prompt.
_AT_ONCE = 4096
_PADDING = 0.1  # largest share of padding in a pass; beyond it, documents are read apart
_COPIED = 128  # columns of a cache that can be copied in the time it takes to read one token
_FEW = 64  # tokens in a pass that make padding irrelevant


class Branches:
    """Documents read in forked passes, in which every cache layer has its own number of rows.

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
        """Start with what has been read before: its mask, of shape (D, past), and its cache.

        ``piecewise`` allows long texts to be read piece by piece.
        """
        self._model = model
        self._forked = forked
        self._piecewise = piecewise
        self.documents = len(mask)
        self.mask = mask
        self.cache = cache or growing_cache(model.decoder.config)

    def read(self, tokens: torch.Tensor, mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Read more tokens, in forked passes.

        Args:
            tokens: Token ids, shape (D, seq).
            mask: 0 for padding, shape (D, seq).
            places: Row and column of the states to return, shape (places, 2).

        Returns:
            Input of the head, shape (boundaries, places, hidden), boundaries descending.
        """
        groups = self._groups(mask)
        if len(groups) == 1:
            return self._read_together(tokens, mask, places)
        result: torch.Tensor | None = None
        parts, columns = [], []
        for group in groups:
            documents = torch.tensor(group, device=tokens.device)
            used = mask[documents].any(dim=0).nonzero().squeeze(1)
            first, end = int(used[0]), int(used[-1]) + 1
            part = self.select(group)
            here = torch.isin(places[:, 0], documents).nonzero().squeeze(1)
            # rows and columns within the group
            row = (places[here, :1] == documents).nonzero()[:, 1]
            inside = torch.stack([row, places[here, 1] - first], dim=1)
            some = slice(first, end)
            states = part._read_together(tokens[documents, some], mask[documents, some], inside)
            if result is None:
                result = states.new_empty((len(states), len(places), states.shape[-1]))
            result[:, here.to(states.device)] = states
            parts.append(part.cache)
            columns.append(first)
        assert result is not None
        past = self.mask.shape[1]
        self.mask = torch.cat([self.mask, mask], dim=1)
        self.cache = joined(parts, groups, columns, past, self.mask.shape[1])
        return result

    def _groups(self, mask: torch.Tensor) -> list[list[int]]:
        """Group documents of about the same length, which are read together.

        Padding costs a lot here, since it is read under all boundaries.
        """
        lengths = mask.sum(dim=1).tolist()
        groups: list[list[int]] = []
        for document in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
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
        """Read more tokens of all documents at once."""
        width = tokens.shape[1]
        step = max(1, _AT_ONCE // (self.documents * len(self._forked.boundaries)))
        step = step if self._piecewise else width
        reserve(self.cache, self.mask.shape[1] + width)
        index = torch.tensor(self._forked.blocks(self._forked.layers), device=tokens.device)
        result: torch.Tensor | None = None
        for start in range(0, width, step):
            piece = slice(start, start + step)
            self.mask = torch.cat([self.mask, mask[:, piece]], dim=1)
            with self._forked.forking(self.documents):
                states = self._model.hidden(tokens[:, piece], self.mask, self.cache)
            blocks = states.view(-1, self.documents, *states.shape[1:])
            if result is None:  # the last layer may be on a different device than the first
                index, places = index.to(states.device), places.to(states.device)
                result = states.new_empty((len(index), len(places), states.shape[-1]))
            here = ((places[:, 1] >= start) & (places[:, 1] < start + step)).nonzero().squeeze(1)
            rows, columns = places[here, 0], places[here, 1] - start
            result[:, here] = blocks[:, rows, columns][index]
        assert result is not None
        return result

    def select(self, documents: Sequence[int]) -> Branches:
        """Return a copy with these documents, which may be repeated."""
        chosen = torch.tensor(documents)

        def rows(_: int, layer: Any) -> torch.Tensor:
            blocks = torch.arange(len(layer.keys) // self.documents).unsqueeze(1)
            return (blocks * self.documents + chosen).flatten()

        mask = self.mask[chosen.to(self.mask.device)]
        cache = _selected(self.cache, rows)
        return Branches(self._model, self._forked, mask, cache, piecewise=self._piecewise)

    def rows(self, pairs: Sequence[tuple[int, int]]) -> tuple[Any, torch.Tensor]:
        """Return cache and mask with one row per pair, for decoding.

        The documents' own cache is emptied layer by layer, so that nothing is in memory twice.

        Args:
            pairs: For each row, the index of its boundary (descending) and of its document.
        """
        boundaries = [boundary for boundary, _ in pairs]
        documents = torch.tensor([document for _, document in pairs])

        def rows(number: int, _: Any) -> torch.Tensor:
            blocks = torch.tensor(self._forked.blocks(number))
            return blocks[boundaries] * self.documents + documents

        cache = _selected(self.cache, rows, consume=True)
        return cache, self.mask[documents.to(self.mask.device)]


def _selected(
    cache: Any, rows: Callable[[int, Any], torch.Tensor], *, consume: bool = False
) -> Any:
    """Return a copy of a cache with the rows that ``rows(number, layer)`` gives for each layer."""
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
