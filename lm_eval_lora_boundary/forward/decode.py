"""Greedy decoding of rows that run under different boundaries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..harness.endings import Ending
from .drafting import WIDTH, Draft, Stopwatch
from .padding import padded
from .routing import ForkedModel
from .split_model import SplitModel

# rows that have ended are cheap to carry along and dear to take out: all caches are copied
_ENDED_SHARE = 0.125

_TRIALS = (2, 4)  # steps that take the time of a draft; the first ones warm up


@dataclass
class Rows:
    """Rows that are being decoded.

    Attributes:
        boundaries: Boundary of every row, descending.
        responses: What has been written in every row, its last token not yet in the cache.
        cache: The model's KV cache, one row each.
        mask: Attention mask of what is in the cache, shape (rows, seq).
        drafts: What each response will probably be; empty where nothing is known.
    """

    boundaries: list[int]
    responses: list[list[int]]
    cache: Any
    mask: torch.Tensor
    drafts: list[Draft] = field(default_factory=list)

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows."""
        index = torch.tensor(rows, device=self.mask.device)
        self.boundaries = [self.boundaries[row] for row in rows]
        self.responses = [self.responses[row] for row in rows]
        self.drafts = [self.drafts[row] for row in rows if self.drafts]
        self.mask = self.mask[index]
        for layer in self.cache.layers:
            layer.batch_select_indices(index.to(layer.keys.device))

    def accept(self, read: int, accepted: Sequence[int]) -> None:
        """Forget what was read of a draft in vain.

        Args:
            read: Tokens that were read last, in every row.
            accepted: How many of them, from the first on, belong to the response of each row.
        """
        valid = torch.tensor(accepted, device=self.mask.device)
        inside = torch.arange(read, device=self.mask.device) < valid.unsqueeze(1)
        self.mask[:, -read:] *= inside
        surplus = read - max(accepted)
        if surplus:
            self.mask = self.mask[:, :-surplus]
            for layer in self.cache.layers:
                layer.crop(-surplus)


def decode_greedily(
    model: SplitModel,
    forked: ForkedModel,
    rows: Rows,
    ending: Ending,
    watch: Stopwatch | None = None,
) -> None:
    """Write on in every row, until all responses have ended.

    Args:
        model: The model.
        forked: Its routing.
        rows: The rows, none of which has ended; their ``responses`` are extended in place, and
            the rest is used up.
        ending: When a response ends.
        watch: Takes the time. Some early steps then read a draft that is nothing but a guess, to
            see what that costs.
    """
    going = list(range(len(rows.responses)))
    steps = 0
    while going:
        if len(going) <= (1 - _ENDED_SHARE) * len(rows.responses):
            rows.keep(going)
            going = list(range(len(going)))
        trial = watch is not None and steps in _TRIALS
        started = time.perf_counter()
        guesses: list[list[int]] = [[] for _ in rows.responses]
        for row in going if rows.drafts or trial else ():
            written = rows.responses[row]
            most = min(WIDTH, ending.limit - len(written)) - 1  # with the token that comes anyway
            if rows.drafts:
                guesses[row] = rows.drafts[row].guess(written, most)
            else:
                guesses[row] = written[-1:] * most
        accepted = _step(model, forked, rows, guesses, going, ending)
        read = 1 + max(map(len, guesses))
        if watch is not None:
            watch.step(len(accepted), read, time.perf_counter() - started)
        if read > 1:
            rows.accept(read, accepted)
        going = [row for row in going if not ending.reached(rows.responses[row])]
        steps += 1


def _step(
    model: SplitModel,
    forked: ForkedModel,
    rows: Rows,
    guesses: Sequence[list[int]],
    going: Sequence[int],
    ending: Ending,
) -> list[int]:
    """Read the newest token of each row and a guess; write as far as the guess was right.

    Returns:
        How many of the tokens that were read belong to the response of each row.
    """
    newest = [[response[-1], *g] for response, g in zip(rows.responses, guesses, strict=True)]
    tokens, mask = padded(newest, "right", rows.mask.device)
    rows.mask = torch.cat([rows.mask, mask.to(rows.mask.dtype)], dim=1)
    with forked.routing(rows.boundaries):
        states = model.hidden(tokens, rows.mask, rows.cache)
    written = model.greedy(states[mask.bool().to(states.device)])
    lengths = [len(row) for row in newest]
    predicted = [each.tolist() for each in torch.split(written.cpu(), lengths)]
    accepted = [1] * len(newest)
    for row in going:
        response = rows.responses[row]
        response.append(predicted[row][0])
        for guessed, following in zip(guesses[row], predicted[row][1:], strict=True):
            if guessed != response[-1] or ending.reached(response):
                break
            response.append(following)
            accepted[row] += 1
    return accepted
