"""Greedy responses under many cuts, from shared forward passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from ..errors import NotFiniteError
from .padding import padded
from .requests import Generate
from .rows import Indices
from .split_model import SplitModel
from .texts import Texts


class Ending(Protocol):
    """When a response ends."""

    def reached(self, response: Sequence[int]) -> bool:
        """Return whether a response ends with its last token."""


def write_responses(
    model: SplitModel,
    beginning: Texts,
    skipped: int,
    requests: Sequence[Generate],
    ending: Ending,
) -> list[list[list[int]]]:
    """Write the responses to a batch of prompts.

    Cuts that write the same response share it, up to the first token that differs.

    Args:
        model: The model.
        beginning: What all prompts begin with, read as one text.
        skipped: Its number of tokens.
        requests: The prompts, with the same generation arguments.
        ending: When a response ends.

    Returns:
        Token ids of the responses, by cut and request.

    Raises:
        NotFiniteError: A logit is NaN or infinite.
    """
    prompts = [request.prompt[skipped:] for request in requests]
    tokens, mask = padded(prompts, "left")
    count, width = tokens.shape
    texts = beginning.select([0] * count, skipped + width)
    last = torch.full((count,), width - 1)
    places = torch.stack([torch.arange(count), last], dim=1)
    states = texts.read(tokens, mask, places)  # (cuts, texts, hidden)
    writing = _Responses(len(states), requests, ending)
    newest = model.greedy(states.flatten(0, 1)).cpu().numpy()
    while writing.add(newest):
        if writing.changed:
            texts.go_on(writing.cuts, writing.texts, writing.parents)
        by_row = model.greedy(texts.write(writing.newest)).cpu().numpy()
        newest = by_row[texts.rows.layers[-1].place]
    return writing.finished


class _Responses:
    """Responses while they are written.

    A pair is a cut and a text that goes on under it. Pairs are ordered by cut, then by text.

    Attributes:
        cuts: The cut of each pair.
        texts: Its text.
        parents: Its place among the pairs before the last token.
        newest: The last token of each text.
        changed: Whether, with the last token, a text became several or a pair ended.
        finished: The responses that have ended, by cut and request.
    """

    def __init__(self, cuts: int, requests: Sequence[Generate], ending: Ending) -> None:
        """Start with an empty response to each request, under all cuts."""
        self._prompts = [request.prompt for request in requests]
        count = len(requests)
        self.cuts, self.texts = np.divmod(np.arange(cuts * count), count)
        self.parents: Indices = np.arange(len(self.cuts))
        self.newest: list[int] = []
        self.changed = False
        self.finished: list[list[list[int]]] = [[[] for _ in requests] for _ in range(cuts)]
        self._ending = ending
        self._requests = list(range(count))  # by text
        self._responses: list[list[int]] = [[] for _ in requests]

    def add(self, tokens: Indices) -> bool:
        """Add a token to the response of every pair, and return whether any pair goes on.

        Raises:
            NotFiniteError: A token is -1, since there is none.
        """
        if tokens.min() < 0:
            wrong = int(tokens.argmin())
            prompt = self._prompts[self._requests[self.texts[wrong]]]
            raise NotFiniteError(prompt, cut=int(self.cuts[wrong]))
        before = len(self._responses)
        base = int(tokens.max()) + 1
        # ordered by text, then by token: texts that go on alike keep their order
        distinct, texts = np.unique(self.texts * base + tokens, return_inverse=True)
        parents, newest = (part.tolist() for part in np.divmod(distinct, base))
        responses = [
            [*self._responses[parent], token] for parent, token in zip(parents, newest, strict=True)
        ]
        requests = [self._requests[parent] for parent in parents]
        ended = np.array([self._ending.reached(response) for response in responses])
        for pair in np.flatnonzero(ended[texts]):
            text = texts[pair]
            self.finished[self.cuts[pair]][requests[text]] = responses[text]
        self.parents = np.flatnonzero(~ended[texts])
        self.changed = len(distinct) != before or len(self.parents) < len(texts)
        going = np.flatnonzero(~ended).tolist()
        self.cuts = self.cuts[self.parents]
        self.texts = (np.cumsum(~ended) - 1)[texts[self.parents]]
        self.newest = [newest[text] for text in going]
        self._requests = [requests[text] for text in going]
        self._responses = [responses[text] for text in going]
        return bool(going)
