"""Engine ``toggle``: one cut after another, through lm-eval's own ``hf`` code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from ..cuts.keep import Cut
from ..errors import NotFiniteError
from ..forward.requests import Answer, Answers, Generate, Request, Score, key
from ..harness.sweep_model import SweepModel


class Toggle:
    """Answers batches under one cut after another."""

    name = "toggle"

    def __init__(self, lm: SweepModel) -> None:
        """Prepare."""
        self._lm = lm

    def rows(self, cuts: int) -> int:
        """Return how many rows a request takes in a batch."""
        del cuts
        return 1

    def passes(self, cuts: Sequence[Cut]) -> int:
        """Return the number of layer passes that a token takes under all cuts."""
        return len(cuts) * self._lm.layers

    def prepare(
        self, requests: Sequence[Request], cuts: Sequence[Cut]
    ) -> Callable[[Sequence[Request]], list[Answers]]:
        """Return a function that answers batches of requests under these cuts."""
        del requests
        return partial(self._answer, cuts)

    def _answer(self, cuts: Sequence[Cut], requests: Sequence[Request]) -> list[Answers]:
        answers: list[Answers] = [[] for _ in requests]
        try:
            for number, cut in enumerate(cuts):
                self._lm.cut.move(cut)
                found = self._answer_under(number, requests)
                for under_cuts, answer in zip(answers, found, strict=True):
                    under_cuts.append(answer)
        finally:
            self._lm.cut.move(self._lm.layers - 1)
        return answers

    def _answer_under(self, number: int, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests under the current cut, which has this number."""
        try:
            return self._answer_in_force(requests)
        except NotFiniteError as error:
            raise NotFiniteError(error.context, error.continuation, number) from error

    def _answer_in_force(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests under the current cut."""
        scores = [request for request in requests if isinstance(request, Score)]
        if scores:
            return list(self._lm.score(scores))
        prompts = [request for request in requests if isinstance(request, Generate)]
        if prompts[0].is_sampled:
            # Every cut draws the same random numbers, whatever was answered before.
            torch.manual_seed(int.from_bytes(key(prompts[0], "")[:4], "big"))
        return list(self._lm.generate(prompts))
