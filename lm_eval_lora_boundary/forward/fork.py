"""Engine ``fork``: one shared forward answers a batch under every boundary.

See :mod:`.forked_model` for the forward pass itself.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from ..cuts.cut import LoraCut
from .drafting import WORTH, Costs, Stopwatch, agreement, steps_per_token
from .generate import Drafts, Responses
from .padding import padded
from .prefill import Branches
from .requests import Answers, Generate, Request, Score, common_beginning
from .routing import ForkedModel
from .score import Scores
from .split_model import SplitModel

if TYPE_CHECKING:
    from ..harness.sweep_lm import SweepLM


_SWITCH = "TRANSFORMERS_SDPA_FORCE_GQA"  # transformers' own, read at every call

logger = logging.getLogger("lm_eval.lora_boundary")


class Fork:
    """Answers batches from shared forward passes.

    The beginning that all requests of a task share (few-shot examples, system text, the head of
    a chat template) is read once.
    """

    name = "fork"

    def __init__(
        self, lm: SweepLM, cut: LoraCut, *, prefixes: bool = True, drafts: bool = True
    ) -> None:
        """Use a model with the full adapter, in its decoder layers only.

        Args:
            lm: The lm-eval model around it.
            cut: The cut, at the full adapter.
            prefixes: Read shared beginnings once.
            drafts: Use responses of some boundaries as drafts for others, where that pays.

        Raises:
            ModelError: The model does not name its decoder.
        """
        self._lm = lm
        self._cut = cut
        self._model = SplitModel(cut.model.get_base_model())
        self._prefixes = prefixes
        self._drafts = drafts
        self._costs: Costs | None = None
        self._use = Drafts()  # in the next batch
        self._forked: ForkedModel
        self._beginning: tuple[int, ...] = ()
        self._prefix: Branches

    def rows(self, boundaries: int) -> int:
        """Return how many rows a request takes in a batch."""
        return boundaries

    @property
    def measured(self) -> str | None:
        """Return what was measured on this machine, for :meth:`start`; None if nothing was."""
        return None if self._costs is None else json.dumps(asdict(self._costs))

    def learn(self, answers: Sequence[Answers]) -> None:
        """Take note of the answers to the batch before, whoever gave them.

        Which drafts are used next follows from them and from what was measured alone, so that a
        run that is taken up again goes the same way.
        """
        self._use = Drafts()
        if self._costs is None:
            return
        encode = self._lm.tokenizer.encode
        responses = [
            [encode(text, add_special_tokens=False) for _, text in sorted(found.items())]
            for found in answers
            if all(isinstance(text, str) for text in found.values())
        ]
        agreeing, steps = agreement(responses), steps_per_token(responses)
        self._use = Drafts(
            self._costs.reading if self._costs.with_whole(agreeing) < WORTH else None,
            self._costs.with_neighbours(steps) < WORTH,
        )
        logger.debug(
            "%.0f%% of the responses is as that of the highest boundary; with their neighbours as "
            "drafts they would take %.2f steps per token; %s: %s",
            100 * agreeing, steps, self._costs, self._use,
        )  # fmt: skip

    @torch.no_grad()
    def start(
        self, requests: Sequence[Request], boundaries: Sequence[int], measured: str | None = None
    ) -> None:
        """Get ready for batches of these requests.

        Args:
            requests: All requests of a task and kind, so that a run that is taken up again does
                exactly the same arithmetic.
            boundaries: The boundaries.
            measured: What was measured when the run began.
        """
        self._use = Drafts()
        self._costs = None if measured is None else Costs(**json.loads(measured))
        self._asked = len(requests)
        self._forked = ForkedModel(self._cut.model, self._cut.stack, boundaries)
        length = max((request.length for request in requests), default=0)
        self._roomy = _unlimited(self._model, length)
        shared = common_beginning(requests) if self._prefixes and self._roomy else ()
        self._beginning = shared if len(requests) > 1 else ()
        tokens, mask = padded([self._beginning], "left", self._lm.device)
        self._prefix = Branches(self._model, self._forked, mask[:, :0], piecewise=self._roomy)
        if self._beginning:
            with self._computing():
                self._prefix.read(tokens, mask, torch.empty((0, 2), dtype=torch.long))

    @torch.no_grad()
    def answer(self, requests: Sequence[Request]) -> list[Answers]:
        """Answer a batch of requests of one kind, and of the same generation arguments."""
        scores = [request for request in requests if isinstance(request, Score)]
        skipped = len(self._beginning)
        with self._computing():
            if scores:
                scoring = Scores(self._model, self._forked.boundaries, self._lm.softmax_dtype)
                return scoring.answer(self._prefix, skipped, scores)
            prompts = [request for request in requests if isinstance(request, Generate)]
            # what a batch costs is of use to those after it
            measuring = self._drafts and self._roomy and self._costs is None
            watch = Stopwatch() if measuring and len(prompts) < self._asked else None
            writing = Responses(self._model, self._forked, self._use, watch)
            ending = self._lm.ending(prompts[0].until, prompts[0].max_new_tokens)
            responses = writing.answer(self._prefix, skipped, prompts, ending)
            if watch is not None:
                self._costs = watch.costs(len(prompts))
        return [
            {
                boundary: self._lm.text(row[number], request.until)
                for boundary, row in zip(self._forked.boundaries, responses, strict=True)
            }
            for number, request in enumerate(prompts)
        ]

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with self._lm.precision(), grouped_attention(self._lm.device):
            yield


def _unlimited(model: SplitModel, length: int) -> bool:
    """Tell whether positions alone decide what tokens see of each other up to a length.

    Sliding windows and chunks count padding, and some position embeddings change with the length
    of what is read at once; batches are then read as ``generate`` reads them, prompt first, in one
    piece.
    """
    config = model.decoder.config.get_text_config(decoder=True)
    sliding = getattr(config, "use_sliding_window", True)
    windows = [getattr(config, "sliding_window", None) if sliding else None]
    windows.append(getattr(config, "attention_chunk_size", None))
    if any(window is not None and length >= window for window in windows):
        return False
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    types = {part.get("rope_type") for part in [parameters, *nested]}
    return not types & {"dynamic", "longrope"}


@contextmanager
def grouped_attention(device: torch.device) -> Iterator[None]:
    """Do not copy keys and values for every head that shares them, where that gives the same.

    With a mask and more than one new token, transformers copies all keys and values of a layer once
    per query head, for the sake of CUDA's kernels. torch's kernel for CPU needs no copies, and its
    results are the same to the last bit; reading a few tokens under many boundaries took several
    times as long with them.
    """
    if device.type != "cpu" or _SWITCH in os.environ:
        yield
        return
    os.environ[_SWITCH] = "1"
    try:
        yield
    finally:
        del os.environ[_SWITCH]
