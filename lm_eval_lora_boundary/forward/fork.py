"""Engine ``fork``: one shared forward answers a batch under many cuts.

See :mod:`.routing` for the forward pass itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn

from .attention import attention_kernels
from .generate import Ending, write_responses
from .kv_cache import growing_cache, only_keys_and_values
from .padding import padded
from .requests import Answers, Generate, Request, Score, common_beginning
from .routing import ForkedModel
from .rows import Strengths
from .score import Scores
from .split_model import SplitModel
from .texts import Texts
from .trials import goes_on, items_per_text, refuse_hidden_states, skips_padding


class Cut(Protocol):
    """How much of the adapter each layer keeps."""

    @property
    def strengths(self) -> Strengths:
        """A strength per layer: 1 keeps the layer's LoRA, 0 drops it, others scale it."""


class Host(Protocol):
    """What the engine needs from its caller.

    Attributes:
        device: Where token ids go.
        softmax_dtype: Precision of the softmax; None for that of the logits.
    """

    device: torch.device
    softmax_dtype: torch.dtype | None

    def precision(self) -> AbstractContextManager[Any]:
        """Return the context in which the model runs, such as autocast."""

    def ending(self, until: Sequence[str], limit: int) -> Ending:
        """Return when a response ends: at one of these strings, or after ``limit`` tokens."""

    def text(self, response: list[int], until: Sequence[str]) -> str:
        """Decode the token ids of a response."""


class Fork:
    """Answers batches from shared forward passes.

    The beginning that all requests of a task share (few-shot examples, system text, the head of
    a chat template) is read once.
    """

    name = "fork"

    def __init__(self, host: Host, model: nn.Module, layers: Sequence[nn.Module]) -> None:
        """Use a model with the whole adapter, which must be in its decoder layers only.

        Args:
            host: The caller.
            model: The transformers model, with its LoRA layers.
            layers: Its decoder layers.

        Raises:
            ModelError: The decoder cannot be used by itself.
        """
        self._host = host
        self._model = SplitModel(model)
        self._layers = layers
        cache = growing_cache(self._model.decoder.config)
        plain = self._model.takes_positions and only_keys_and_values(cache)
        self._skips_padding, self._goes_on, self._per_text = True, True, {}
        if not plain:
            with host.precision():
                refuse_hidden_states(self._model, host.device)
                self._skips_padding = skips_padding(self._model, host.device)
                self._goes_on = goes_on(self._model, host.device)
                self._per_text = items_per_text(self._model, layers[0], host.device)

    def rows(self, cuts: int) -> int:
        """Return the number of rows that a request takes in a batch."""
        return cuts

    def passes(self, cuts: Sequence[Cut]) -> int:
        """Return the number of layer passes that a token takes under all cuts."""
        return self._forked(cuts).beginnings.passes

    def _forked(self, cuts: Sequence[Cut]) -> ForkedModel:
        return ForkedModel(self._layers, [cut.strengths for cut in cuts], self._per_text)

    @torch.no_grad()
    def prepare(
        self, requests: Sequence[Request], cuts: Sequence[Cut]
    ) -> Callable[[Sequence[Request]], list[Answers]]:
        """Read the beginning that all requests share, and return a function that answers batches.

        Args:
            requests: All requests of one task and kind, even those that are answered already, so
                that a resumed run does exactly the same arithmetic.
            cuts: The cuts.
        """
        forked = self._forked(cuts)
        length = max((request.length for request in requests), default=0)
        piecewise = self._skips_padding and self._goes_on and _positions_alone(self._model, length)
        shared = common_beginning(requests) if piecewise and len(requests) > 1 else ()
        tokens, mask = padded([shared], "left")
        beginning = Texts(
            self._model, forked, mask[:, :0], device=self._host.device, piecewise=piecewise
        )
        if shared:
            with self._computing(forked):
                beginning.read(tokens, mask, torch.empty((0, 2), dtype=torch.long))
        return partial(self._answer, forked, beginning, len(shared))

    @torch.no_grad()
    def _answer(
        self, forked: ForkedModel, beginning: Texts, skipped: int, requests: Sequence[Request]
    ) -> list[Answers]:
        scores = [request for request in requests if isinstance(request, Score)]
        with self._computing(forked):
            if scores:
                scoring = Scores(self._model, forked.cuts, self._host.softmax_dtype, self._goes_on)
                return scoring.answer(beginning, skipped, scores)
            prompts = [request for request in requests if isinstance(request, Generate)]
            ending = self._host.ending(prompts[0].until, prompts[0].max_new_tokens)
            responses = write_responses(self._model, beginning, skipped, prompts, ending)
        return [
            [self._host.text(row[number], request.until) for row in responses]
            for number, request in enumerate(prompts)
        ]

    @contextmanager
    def _computing(self, forked: ForkedModel) -> Iterator[None]:
        with self._host.precision(), attention_kernels(self._host.device), forked.forking():
            yield


def _positions_alone(model: SplitModel, length: int) -> bool:
    """Return whether, up to a length, positions alone decide which tokens see each other.

    Then texts can be read piece by piece. But sliding windows and chunks count padding, and some
    position embeddings depend on how much is read at once. Such models read the prompts in one
    piece, as ``generate`` does.
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
