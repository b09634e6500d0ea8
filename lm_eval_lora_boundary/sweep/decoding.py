"""Greedy decoding of rows that run under different boundaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .fork import ForkedModel


@dataclass
class Ending:
    """When a response ends.

    Attributes:
        tokens: Ids that end a response.
        strings: Strings that end it as soon as its text holds one.
        limit: Most tokens to write.
        decode: Turns token ids into text.
    """

    tokens: frozenset[int]
    strings: tuple[str, ...]
    limit: int
    decode: Callable[[list[int]], str] = field(repr=False)

    def reached(self, response: list[int]) -> bool:
        """Tell whether a response has come to its end."""
        if len(response) >= self.limit or response[-1] in self.tokens:
            return True
        text = self.decode(response) if self.strings else ""
        return any(string in text for string in self.strings if string)


@dataclass
class Rows:
    """Rows that are being decoded, and what the model remembers of them.

    Attributes:
        boundaries: Boundary of every row, descending.
        cache: The model's KV cache, one row each.
        mask: Attention mask of what is in the cache, shape (rows, seq).
        logits: Logits of the next token, shape (rows, vocab).
    """

    boundaries: list[int]
    cache: Any
    mask: torch.Tensor
    logits: torch.Tensor

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows."""
        index = torch.tensor(rows, device=self.mask.device)
        self.boundaries = [self.boundaries[row] for row in rows]
        select_rows(self.cache, [index] * len(self.cache.layers))
        self.mask = self.mask[index]
        self.logits = self.logits[index]


def select_rows(cache: Any, rows: Sequence[torch.Tensor]) -> None:
    """Replace the rows of every layer of a KV cache by a selection, in place.

    Args:
        cache: A transformers cache of layers with ``keys`` and ``values``.
        rows: Indices of the rows, shape (selected,), for every layer.
    """
    for layer, index in zip(cache.layers, rows, strict=True):
        index = index.to(layer.keys.device)
        layer.keys = layer.keys.index_select(0, index)
        layer.values = layer.values.index_select(0, index)


def decode_greedily(model: Any, forked: ForkedModel, rows: Rows, ending: Ending) -> list[list[int]]:
    """Write a response in every row.

    A row leaves the batch when its response has ended, so that the others go on faster.

    Args:
        model: The causal language model.
        forked: Its routing.
        rows: The rows, after their prompts; used up.
        ending: When a response ends.

    Returns:
        Token ids of the responses, in the order of the rows.
    """
    responses: list[list[int]] = [[] for _ in rows.boundaries]
    active = list(range(len(responses)))  # responses that the rows of the batch belong to
    while True:
        tokens = rows.logits.argmax(dim=-1)
        for response, token in zip(active, tokens.tolist(), strict=True):
            responses[response].append(token)
        going = [i for i, response in enumerate(active) if not ending.reached(responses[response])]
        if not going:
            return responses
        if len(going) < len(active):
            rows.keep(going)
            active = [active[row] for row in going]
            tokens = tokens[going]
        rows.mask = torch.cat([rows.mask, rows.mask.new_ones(len(active), 1)], dim=1)
        with forked.routing(rows.boundaries):
            rows.logits = model(
                tokens.unsqueeze(1),
                attention_mask=rows.mask,
                position_ids=rows.mask.sum(dim=1, keepdim=True) - 1,
                past_key_values=rows.cache,
                use_cache=True,
            ).logits[:, -1]
