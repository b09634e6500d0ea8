"""Greedy decoding of rows that run under different boundaries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..split import SplitModel
from .forked_model import ForkedModel

# rows that have ended are cheap to carry along and dear to take out: all caches are copied
_ENDED_SHARE = 0.125


@dataclass
class Ending:
    """When a response ends.

    Attributes:
        tokens: Ids that end a response.
        strings: Strings that end it as soon as its text holds one.
        limit: Most tokens to write.
        decode: Turns token ids into text.
        lookback: Tokens at the end of a response that a string may reach over; None for all.
    """

    tokens: frozenset[int]
    strings: tuple[str, ...]
    limit: int
    decode: Callable[[list[int]], str] = field(repr=False)
    lookback: int | None = None

    def reached(self, response: list[int]) -> bool:
        """Tell whether a response, which had not ended before its last token, has ended."""
        if len(response) >= self.limit or response[-1] in self.tokens:
            return True
        if not self.strings:
            return False
        text = self.decode(response[-self.lookback :] if self.lookback else response)
        return any(string in text for string in self.strings if string)


@dataclass
class Rows:
    """Rows that are being decoded.

    Attributes:
        boundaries: Boundary of every row, descending.
        responses: What has been written in every row, its last token not yet in the cache.
        cache: The model's KV cache, one row each.
        mask: Attention mask of what is in the cache, shape (rows, seq).
    """

    boundaries: list[int]
    responses: list[list[int]]
    cache: Any
    mask: torch.Tensor

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows."""
        index = torch.tensor(rows, device=self.mask.device)
        self.boundaries = [self.boundaries[row] for row in rows]
        self.responses = [self.responses[row] for row in rows]
        self.mask = self.mask[index]
        for layer in self.cache.layers:
            layer.batch_select_indices(index.to(layer.keys.device))


def decode_greedily(model: SplitModel, forked: ForkedModel, rows: Rows, ending: Ending) -> None:
    """Write on in every row, until all responses have ended.

    Args:
        model: The model.
        forked: Its routing.
        rows: The rows, none of which has ended; their ``responses`` are extended in place, and
            the rest is used up.
        ending: When a response ends.
    """
    going = list(range(len(rows.responses)))
    while going:
        if len(going) <= (1 - _ENDED_SHARE) * len(rows.responses):
            rows.keep(going)
            going = list(range(len(going)))
        newest = [response[-1] for response in rows.responses]
        tokens = torch.tensor(newest, device=rows.mask.device).unsqueeze(1)
        rows.mask = torch.cat([rows.mask, rows.mask.new_ones(len(newest), 1)], dim=1)
        with forked.routing(rows.boundaries):
            states = model.hidden(tokens, rows.mask, rows.cache)
        written = model.greedy(states[:, -1]).tolist()
        for row in going:
            rows.responses[row].append(written[row])
        going = [row for row in going if not ending.reached(rows.responses[row])]
