"""Engine ``toggle``: one boundary after another, through lm-eval's own ``hf`` code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..cuts.cut import LoraCut
from ..forward.requests import Answer, Answers, Generate, Request, Score, key

if TYPE_CHECKING:
    from ..harness.sweep_lm import SweepLM


class Toggle:
    """Answers batches at one boundary after another."""

    name = "toggle"
    measured = None

    def __init__(self, lm: SweepLM, cut: LoraCut) -> None:
        """Use a model whose LoRA can be cut.

        Args:
            lm: The lm-eval model around it.
            cut: The cut.
        """
        self._lm = lm
        self._cut = cut
        self._boundaries: Sequence[int] = ()

    def rows(self, boundaries: int) -> int:
        """Return how many rows a request takes in a batch."""
        del boundaries
        return 1

    def start(
        self, requests: Sequence[Request], boundaries: Sequence[int], measured: str | None = None
    ) -> None:
        """Get ready for batches of these requests."""
        del requests, measured
        self._boundaries = boundaries

    def learn(self, answers: Sequence[Answers]) -> None:
        """Take note of the answers to the batch before; nothing depends on them here."""
        del answers

    def answer(self, requests: Sequence[Request]) -> list[Answers]:
        """Answer a batch of requests of one kind, and of the same generation arguments."""
        answers: list[Answers] = [{} for _ in requests]
        try:
            for boundary in self._boundaries:
                self._cut.move(boundary)
                for found, answer in zip(answers, self._at_boundary(requests), strict=True):
                    found[boundary] = answer
        finally:
            self._cut.move(self._cut.stack.count - 1)
        return answers

    def _at_boundary(self, requests: Sequence[Request]) -> list[Answer]:
        scores = [request for request in requests if isinstance(request, Score)]
        if scores:
            return list(self._lm.score(scores))
        prompts = [request for request in requests if isinstance(request, Generate)]
        if prompts[0].is_sampled:
            # every boundary draws the same random numbers, whatever was answered before
            torch.manual_seed(int.from_bytes(key(prompts[0], "")[:4], "big"))
        return list(self._lm.generate(prompts))
