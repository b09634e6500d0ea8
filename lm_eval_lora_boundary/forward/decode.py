"""Greedy decoding of rows that run under different boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from .routing import ForkedModel
from .split_model import SplitModel

# Rows that have ended are cheap to carry along. Taking them out copies all caches.
_ENDED_SHARE = 0.125


class Ending(Protocol):
    """When a response ends."""

    def reached(self, response: Sequence[int]) -> bool:
        """Return whether a response ends with its last token."""


@dataclass
class Rows:
    """Rows that are being decoded.

    Attributes:
        boundaries: Boundary of every row, descending.
        responses: The tokens written in every row. The last one is not yet in the cache.
        cache: The model's KV cache, with these rows.
        mask: Attention mask of the cache, shape (rows, seq).
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
    """Extend the responses of all rows until they have ended.

    None of the rows may have ended. Their ``responses`` are extended in place, and the rest of
    ``rows`` cannot be used afterwards.
    """
    going = list(range(len(rows.responses)))
    while going:
        if len(going) <= (1 - _ENDED_SHARE) * len(rows.responses):
            rows.keep(going)
            going = list(range(len(going)))
        written = _step(model, forked, rows)
        for row in going:
            rows.responses[row].append(written[row])
        going = [row for row in going if not ending.reached(rows.responses[row])]


def _step(model: SplitModel, forked: ForkedModel, rows: Rows) -> list[int]:
    """Read the newest token of every row and return the most likely next one."""
    newest = [response[-1:] for response in rows.responses]
    tokens = torch.tensor(newest, device=rows.mask.device)  # (rows, 1)
    rows.mask = torch.cat([rows.mask, rows.mask.new_ones(len(newest), 1)], dim=1)
    with forked.routing(rows.boundaries):
        states = model.hidden(tokens, rows.mask, rows.cache)  # (rows, 1, hidden)
    written: list[int] = model.greedy(states[:, -1]).tolist()
    return written
