"""Texts that are read and written under many cuts at once, with one KV cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .kv_cache import GrowingLayer, growing_cache, joined, rearrange, reserve, selected
from .routing import ForkedModel
from .rows import Indices, Rows
from .split_model import SplitModel

# Tokens × rows of the widest layer in one pass. This is enough to keep matrix products busy, and
# keeps activations small for any length of prompt.
_AT_ONCE = 4096
_PADDING = 0.1  # largest share of padding in a pass; beyond it, texts are read apart
_COPIED = 128  # columns of a cache that can be copied in the time it takes to read one token
_FEW = 64  # tokens in a pass that make padding irrelevant


class Texts:
    """Texts, the cuts under which each of them goes on, and a KV cache of what was read.

    At first, every text goes on under every cut.

    Attributes:
        rows: The rows of each layer.
        mask: 1 for every token of a text, 0 for padding, shape (texts, past).
        cache: The model's KV cache; each layer has its own rows.
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
        """Start with what has been read before: its mask, of shape (texts, past), and its cache.

        ``piecewise`` allows long texts to be read piece by piece.
        """
        self._model = model
        self._forked = forked
        self._piecewise = piecewise
        self.mask = mask
        self.cache = cache or growing_cache(model.decoder.config)
        self.rows = Rows.of(forked.beginnings, len(mask))

    def read(self, tokens: torch.Tensor, mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Read more tokens of texts that all go on under every cut.

        Args:
            tokens: Token ids, shape (texts, seq).
            mask: 0 for padding, shape (texts, seq).
            places: Text and column of the states to return, shape (places, 2).

        Returns:
            Input of the head, shape (cuts, places, hidden).
        """
        groups = self._groups(mask)
        if len(groups) == 1:
            return self._read_together(tokens, mask, places)
        result: torch.Tensor | None = None
        parts, targets, columns = [], [], []
        whole, length = self.rows, self.mask.shape[1] + tokens.shape[1]
        for group in groups:
            texts = torch.tensor(group, device=tokens.device)
            used = mask[texts].any(dim=0).nonzero().squeeze(1)
            first, end = int(used[0]), int(used[-1]) + 1
            part = self.select(group, length)
            here = torch.isin(places[:, 0], texts).nonzero().squeeze(1)
            # text and column within the group
            row = (places[here, :1] == texts).nonzero()[:, 1]
            inside = torch.stack([row, places[here, 1] - first], dim=1)
            some = slice(first, end)
            states = part._read_together(tokens[texts, some], mask[texts, some], inside)
            if result is None:
                result = states.new_empty((len(states), len(places), states.shape[-1]))
            result[:, here.to(states.device)] = states
            parts.append(part.cache)
            # the rows of the group's pairs of a cut and a text among all rows
            pairs = np.flatnonzero(np.isin(whole.texts, group))
            targets.append(
                [
                    layer.place[pairs[own.first]]
                    for layer, own in zip(whole.layers, part.rows.layers, strict=True)
                ]
            )
            columns.append(first)
        assert result is not None
        past = self.mask.shape[1]
        self.mask = torch.cat([self.mask, mask], dim=1)
        self.cache = joined(parts, targets, columns, past, length)
        return result

    def _groups(self, mask: torch.Tensor) -> list[list[int]]:
        """Group texts of about the same length, which are read together.

        Padding costs a lot here, since it is read under all cuts.
        """
        lengths = mask.sum(dim=1).tolist()
        groups: list[list[int]] = []
        for text in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
            if groups:
                grown = [*groups[-1], text]
                read = len(grown) * lengths[grown[0]]
                if read <= _FEW or sum(lengths[i] for i in grown) >= (1 - _PADDING) * read:
                    groups[-1] = grown
                    continue
            groups.append([text])
        saved = mask.numel() - sum(len(group) * lengths[group[0]] for group in groups)
        copied = len(lengths) * (self.mask.shape[1] + mask.shape[1])
        ordinary = all(isinstance(layer, GrowingLayer) for layer in self.cache.layers)
        if not self._piecewise or not ordinary or saved * _COPIED <= copied:
            return [list(range(len(lengths)))]
        return [sorted(group) for group in groups]

    def _read_together(
        self, tokens: torch.Tensor, mask: torch.Tensor, places: torch.Tensor
    ) -> torch.Tensor:
        """Read more tokens of all texts at once."""
        texts, width = tokens.shape
        step = max(1, _AT_ONCE // (texts * self._forked.cuts)) if self._piecewise else width
        reserve(self.cache, self.mask.shape[1] + width)
        last = self.rows.layers[-1].place.reshape(self._forked.cuts, texts)
        result: torch.Tensor | None = None
        for start in range(0, width, step):
            piece = slice(start, start + step)
            states = self._pass(tokens[:, piece], mask[:, piece])
            if result is None:  # the last layer may be on a different device than the first
                places = places.to(states.device)
                index = torch.from_numpy(last).to(states.device)
                result = states.new_empty((len(index), len(places), states.shape[-1]))
            here = ((places[:, 1] >= start) & (places[:, 1] < start + step)).nonzero().squeeze(1)
            text, column = places[here, 0], places[here, 1] - start
            result[:, here] = states[index[:, text], column]
        assert result is not None
        return result

    def write(self, tokens: Sequence[int]) -> torch.Tensor:
        """Read one more token of every text.

        Args:
            tokens: A token id for each text.

        Returns:
            Input of the head after it, for each row of the last layer, shape (rows, hidden).
        """
        newest = torch.tensor(tokens, device=self.mask.device).unsqueeze(1)
        return self._pass(newest, torch.ones_like(newest))[:, -1]

    def _pass(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run the decoder; return the input of the head, shape (rows, seq, hidden)."""
        self._forked.plan(self.rows)
        self.mask = torch.cat([self.mask, mask], dim=1)
        return self._model.hidden(tokens, self.mask, self.cache)

    def select(self, texts: Sequence[int], length: int) -> Texts:
        """Return a copy with some texts, which may be repeated; all go on under every cut.

        Args:
            texts: The texts.
            length: Number of tokens that they are going to have.
        """
        chosen = torch.tensor(texts, device=self.mask.device)
        copied = Texts(
            self._model, self._forked, self.mask[chosen], self.cache, piecewise=self._piecewise
        )
        own = copied.rows
        # pairs are ordered by cut, and then by text
        parents = own.cuts * len(self.mask) + np.array(texts)[own.texts]
        copied.cache = selected(
            self.cache,
            [
                layer.place[parents[new.first]]
                for layer, new in zip(self.rows.layers, own.layers, strict=True)
            ],
            length,
        )
        return copied

    def go_on(self, cuts: Indices, texts: Indices, parents: Indices) -> None:
        """Go on with other texts, each of which has all tokens of an earlier one.

        A text that goes on alike under all of its cuts keeps its rows. Where one becomes several,
        or goes on under fewer cuts, single rows are copied, and not the cache.

        Args:
            cuts: The cut of each pair of a cut and a text.
            texts: Its text, ``0..T-1``.
            parents: The earlier pair that it continues.
        """
        before = self.rows
        self.rows, moves = before.become(cuts, texts, parents)
        rearrange(self.cache, moves)
        of_text = np.empty(int(texts.max()) + 1, dtype=np.int64)
        of_text[texts] = before.texts[parents]
        self.mask = self.mask[torch.from_numpy(of_text).to(self.mask.device)]
