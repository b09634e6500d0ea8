"""Documents that are being read under every boundary at once, and the KV cache of that."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..split import SplitModel
from .forked_model import ForkedModel
from .growing_cache import growing_cache, reserve

# tokens × rows of the widest layer in one pass: enough to keep matrix products busy, and little
# enough for activations to stay small, whatever the length of a prompt
_AT_ONCE = 4096


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
