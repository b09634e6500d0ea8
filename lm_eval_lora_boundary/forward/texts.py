"""Texts that are read and written under many cuts at once, with one KV cache."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .kv_cache import GrowingLayer, growing_cache, joined, rearrange, reserve, selected
from .routing import ForkedModel
from .rows import Indices, Rows
from .split_model import SplitModel
from .transfers import indices, to_device

# Tokens × rows of the widest layer in one pass. This is enough to keep matrix products busy, and
# keeps activations small for any length of prompt. The lowest layer has a few rows of those only,
# and a GPU needs more than a hundred tokens there, or it spends its time on fetching the weights.
_AT_ONCE = {"cpu": 4096, "cuda": 16384}
_PADDING = 0.1  # largest share of padding in a pass; beyond it, texts are read apart
_COPIED = 128  # columns of a cache that can be copied in the time it takes to read one token
_FEW = 64  # tokens in a pass that make padding irrelevant


class Texts:
    """Texts, the cuts under which each of them goes on, and a KV cache of what was read.

    At first, every text goes on under every cut.

    Attributes:
        rows: The rows of each layer.
        mask: 1 for every token of a text, 0 for padding, shape (texts, past); on the device where
            the texts are read.
        cache: The model's KV cache; each layer has its own rows.
    """

    def __init__(
        self,
        model: SplitModel,
        forked: ForkedModel,
        mask: torch.Tensor,
        cache: Any | None = None,
        *,
        device: torch.device | None = None,
        piecewise: bool = True,
    ) -> None:
        """Start with what has been read before.

        Args:
            model: The model.
            forked: Its layers.
            mask: The mask of what has been read, on the host, shape (texts, past).
            cache: Its KV cache; None if nothing has been read.
            device: Where texts are read; None for the host.
            piecewise: Whether long texts may be read piece by piece.
        """
        self._model = model
        self._forked = forked
        self._piecewise = piecewise
        self.mask = mask if device is None else to_device(mask, device)
        self._padded = (mask == 0).any(dim=1).numpy()  # which texts have padding
        self.cache = cache or growing_cache(model.decoder.config)
        self.rows = Rows.of(forked.beginnings, len(mask))

    def read(self, tokens: torch.Tensor, mask: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Read more tokens of texts that all go on under every cut.

        All arguments are on the host, where it is decided what is read together.

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
            texts = torch.tensor(group)
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
            result[:, to_device(here, states.device)] = states
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
        self._add(mask)
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
        most = _AT_ONCE.get(self.mask.device.type, _AT_ONCE["cpu"])
        step = max(1, most // (texts * self._forked.cuts)) if self._piecewise else width
        reserve(self.cache, self.mask.shape[1] + width)
        last = torch.from_numpy(self.rows.layers[-1].place).view(self._forked.cuts, texts)
        result: torch.Tensor | None = None
        for start in range(0, width, step):
            piece = slice(start, start + step)
            states = self._pass(tokens[:, piece], mask[:, piece])
            if result is None:  # the last layer may be on a different device than the first
                result = states.new_empty((len(last), len(places), states.shape[-1]))
            here = ((places[:, 1] >= start) & (places[:, 1] < start + step)).nonzero().squeeze(1)
            if len(here):
                text, column = places[here, 0], places[here, 1] - start
                row, column, here = indices([last[:, text], column, here], states.device)
                result[:, here] = states[row, column]
        assert result is not None
        return result

    def write(self, tokens: Sequence[int]) -> torch.Tensor:
        """Read one more token of every text.

        Args:
            tokens: A token id for each text.

        Returns:
            Input of the head after it, for each row of the last layer, shape (rows, hidden).
        """
        newest = torch.tensor(tokens).unsqueeze(1)
        return self._pass(newest, torch.ones_like(newest))[:, -1]

    def _pass(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run the decoder; return the input of the head, shape (rows, seq, hidden)."""
        self._forked.plan(self.rows)
        self._add(mask)
        there = to_device(tokens, self.mask.device)
        padded = bool(self._padded.any())
        return self._model.hidden(there, self.mask, self.cache, padded=padded)

    def _add(self, mask: torch.Tensor) -> None:
        """Note which of the next tokens are padding."""
        padded = (mask == 0).any(dim=1).numpy()
        self._padded = self._padded | padded
        device = self.mask.device
        there = to_device(mask, device) if padded.any() else torch.ones_like(mask, device=device)
        self.mask = torch.cat([self.mask, there], dim=1)

    def select(self, texts: Sequence[int], length: int) -> Texts:
        """Return a copy with some texts, which may be repeated; all go on under every cut.

        Args:
            texts: The texts.
            length: Number of tokens that they are going to have.
        """
        copied = copy.copy(self)
        copied._choose(np.array(texts))
        copied.rows = Rows.of(self._forked.beginnings, len(texts))
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
        rearrange(self.cache, moves, len(before.cuts))
        of_text = np.empty(int(texts.max()) + 1, dtype=np.int64)
        of_text[texts] = before.texts[parents]
        self._choose(of_text)

    def _choose(self, texts: Indices) -> None:
        """Keep what is known of the tokens of some texts, which may be repeated."""
        self._padded = self._padded[texts]
        self.mask = self.mask[to_device(torch.from_numpy(texts), self.mask.device)]
