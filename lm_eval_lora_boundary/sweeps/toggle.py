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
        """Use a model whose LoRA can be cut.

        Args:
            lm: The lm-eval model around it.
        """
        self._lm = lm

    def rows(self, boundaries: int) -> int:
        """Return how many rows a request takes in a batch."""
        del boundaries
        return 1

    def prepare(
        self, requests: Sequence[Request], boundaries: Sequence[int]
    ) -> Callable[[Sequence[Request]], list[Answers]]:
        """Return what answers batches of these requests under these boundaries."""
        del requests
        return partial(self._answer, boundaries)

    def _answer(self, boundaries: Sequence[int], requests: Sequence[Request]) -> list[Answers]:
        answers: list[Answers] = [{} for _ in requests]
        try:
            for boundary in boundaries:
                self._lm.cut.move(boundary)
                for found, answer in zip(answers, self._answer_as_is(requests), strict=True):
                    found[boundary] = answer
        finally:
            self._lm.cut.move(self._lm.layers - 1)
        return answers

    def _answer_as_is(self, requests: Sequence[Request]) -> list[Answer]:
        scores = [request for request in requests if isinstance(request, Score)]
        if scores:
            return list(self._lm.score(scores))
        prompts = [request for request in requests if isinstance(request, Generate)]
        if prompts[0].is_sampled:
            # every boundary draws the same random numbers, whatever was answered before
            torch.manual_seed(int.from_bytes(key(prompts[0], "")[:4], "big"))
        return list(self._lm.generate(prompts))
