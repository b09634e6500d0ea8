"""Documents that are being read under every boundary at once, and the KV cache of that."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from ..split import SplitModel
from .forked_model import ForkedModel
from .growing_cache import growing


class Branches:
    """Documents read in forked passes: every cache layer has its own number of rows.

    Attributes:
        documents: Number of documents, D.
        mask: 1 for every token of a document, 0 for padding, shape (D, past).
        cache: The model's KV cache. A layer holds one block of D rows for the trunk and one for
            every boundary that has branched off below it.
    """

    def __init__(
        self, model: SplitModel, forked: ForkedModel, mask: torch.Tensor, cache: Any | None = None
    ) -> None:
        """Start to read.

        Args:
            model: The model.
            forked: Its routing.
            mask: Mask of what has been read, shape (D, past); (D, 0) at the start.
            cache: What has been read.
        """
        self._model = model
        self._forked = forked
        self.documents = len(mask)
        self.mask = mask
        self.cache = cache or DynamicCache(config=model.decoder.config)

    def read(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Read on, in one forked pass.

        Args:
            tokens: Token ids, shape (D, seq).
            mask: 0 for padding, shape (D, seq).

        Returns:
            States for the head, shape (boundaries, D, seq, hidden), boundaries descending.
        """
        self.mask = torch.cat([self.mask, mask], dim=1)
        with self._forked.forking(self.documents):
            states = self._model.hidden(tokens, self.mask, self.cache)
        blocks = states.view(-1, self.documents, *states.shape[1:])
        index = torch.tensor(self._forked.blocks(self._forked.layers), device=states.device)
        return blocks.index_select(0, index)

    def select(self, documents: Sequence[int]) -> Branches:
        """Return a copy with these documents, repeated as often as they are named."""
        chosen = torch.tensor(documents)

        def rows(_: int, layer: Any) -> torch.Tensor:
            blocks = torch.arange(len(layer.keys) // self.documents).unsqueeze(1)
            return (blocks * self.documents + chosen).flatten()

        mask = self.mask[chosen.to(self.mask.device)]
        return Branches(self._model, self._forked, mask, _selected(self.cache, rows))

    def rows(self, pairs: Sequence[tuple[int, int]]) -> tuple[Any, torch.Tensor]:
        """Return cache and mask with one row per pair, to decode with.

        Args:
            pairs: Which boundary, as an index into those of the forked passes, and which document.
        """
        boundaries = [boundary for boundary, _ in pairs]
        documents = torch.tensor([document for _, document in pairs])

        def rows(number: int, _: Any) -> torch.Tensor:
            blocks = torch.tensor(self._forked.blocks(number))
            return blocks[boundaries] * self.documents + documents

        cache = _selected(self.cache, rows)
        cache.layers = [growing(layer) for layer in cache.layers]
        return cache, self.mask[documents.to(self.mask.device)]


def _selected(cache: Any, rows: Any) -> Any:
    """Return a copy of a cache with the rows that ``rows(number, layer)`` tells for each layer."""
    chosen = copy.copy(cache)
    chosen.layers = []
    for number, layer in enumerate(cache.layers):
        layer = copy.copy(layer)
        if layer.is_initialized:
            index = rows(number, layer).to(layer.keys.device)
            layer.keys = layer.keys.index_select(0, index)
            layer.values = layer.values.index_select(0, index)
        chosen.layers.append(layer)
    return chosen
