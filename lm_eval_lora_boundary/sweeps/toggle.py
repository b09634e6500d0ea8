"""Engine ``toggle``: one boundary after another, through lm-eval's own ``hf`` code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from ..forward.requests import Answer, Answers, Generate, Request, Score, key
from ..harness.sweep_model import SweepModel


class Toggle:
    """Answers batches at one boundary after another."""

    name = "toggle"

    def __init__(self, lm: SweepModel) -> None:
        """Prepare."""
        self._lm = lm

    def rows(self, boundaries: int) -> int:
        """Return how many rows a request takes in a batch."""
        del boundaries
        return 1

    def prepare(
        self, requests: Sequence[Request], boundaries: Sequence[int]
    ) -> Callable[[Sequence[Request]], list[Answers]]:
        """Return a function that answers batches of requests under these boundaries."""
        del requests
        return partial(self._answer, boundaries)

    def _answer(self, boundaries: Sequence[int], requests: Sequence[Request]) -> list[Answers]:
        answers: list[Answers] = [{} for _ in requests]
        try:
            for boundary in boundaries:
                self._lm.cut.move(boundary)
                at_boundary = self._answer_in_force(requests)
                for by_boundary, answer in zip(answers, at_boundary, strict=True):
                    by_boundary[boundary] = answer
        finally:
            self._lm.cut.move(self._lm.layers - 1)
        return answers

    def _answer_in_force(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests at the current boundary."""
        scores = [request for request in requests if isinstance(request, Score)]
        if scores:
            return list(self._lm.score(scores))
        prompts = [request for request in requests if isinstance(request, Generate)]
        if prompts[0].is_sampled:
            # Every boundary draws the same random numbers, whatever was answered before.
            torch.manual_seed(int.from_bytes(key(prompts[0], "")[:4], "big"))
        return list(self._lm.generate(prompts))
