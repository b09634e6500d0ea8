"""The model of a sweep: loaded once, with a movable cut, as the engines need it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import torch
from lm_eval.models.huggingface import HFLM
from torch import nn
from transformers import PreTrainedModel

from ..cuts.adapter_folder import AdapterFolder
from ..cuts.cut import LoraCut
from ..cuts.effect import refuse_no_effect
from ..cuts.fingerprint import fingerprint, weights_sample
from ..cuts.keep import Cut
from ..cuts.loading import load_adapter
from ..cuts.vocabulary import growing, refuse_tokens_without_rows
from ..forward.requests import Generate, Score
from ..upstream.lm_eval import request
from ..upstream.lm_eval_models import postprocess_generated_text
from .device import usable_device
from .endings import Ending
from .generation_args import unusual_settings
from .model import LoraBoundaryLM
from .provenance.facts import COMMANDS
from .settings import EvaluationSettings


class SweepModel(LoraBoundaryLM):
    """A base model with the whole adapter, whose cut can be moved.

    It takes the arguments of :class:`.LoraBoundaryLM`, except ``boundary``, ``merge`` and
    ``batch_size``.

    Attributes:
        boundary: The boundary that lm-eval is evaluating; None for a cut that is no boundary.
        cut: The cut, at the whole adapter unless an engine is at work.
        fingerprint: Hash of the base model's weights.
        base_sample: Hash that identifies the base model, whatever its precision.
    """

    spelling = COMMANDS
    divides_batches = False  # the scheduler has divided them among the processes already
    batch_size = 1 << 30  # all requests at once, because engines make the batches
    cut: LoraCut
    fingerprint: str
    base_sample: str

    def _attach(self, adapter: AdapterFolder) -> None:
        self.fingerprint = fingerprint(self._model)
        self.base_sample = weights_sample(self._model)
        self._grows = bool(growing(self._model, adapter))
        self.cut = load_adapter(self._model, adapter, lowest_dropped=0)
        self.boundary = self.layers - 1
        refuse_no_effect(self.cut, self.boundary)
        # Not the base model inside: PEFT does some of its work outside the layers.
        self._model = self.cut.model
        self._model.eval()

    @property
    def layers(self) -> int:
        """Number of decoder layers, N."""
        return self.cut.stack.count

    @property
    def decoder_layers(self) -> Sequence[nn.Module]:
        """The decoder layers; none if this process does not run them."""
        stack = self.cut.stack
        layers: Any = self.cut.model.get_base_model().get_submodule(stack.path)
        return list(layers)[: stack.count]

    @property
    def adapter(self) -> AdapterFolder:
        """The adapter's folder."""
        assert self._adapter is not None
        return self._adapter

    def check(self, cuts: Sequence[Cut | int]) -> None:
        """Raise an AdapterError if a cut keeps no module, or lacks embeddings of tokens.

        Or if it scales what can only be kept or dropped.
        """
        for cut in map(self.cut.cut, cuts):
            refuse_no_effect(self.cut, cut)
            self.cut.refuse_meaningless(cut)
            if self._grows:
                with self.cut:
                    self.cut.move(cut)
                    refuse_tokens_without_rows(self._model, len(self.tokenizer), cut)

    @property
    def engine_facts(self) -> dict[str, Any]:
        """What decides an answer besides model, adapter and prompts."""
        return {"dtype": str(self._model.dtype), "device": self.device.type}

    @property
    def dtype_name(self) -> str:
        """The precision that the base model runs in, for messages."""
        return str(self._model.dtype)

    def precision(self) -> torch.autocast:
        """Return the context that ``hf`` runs the model in."""
        return torch.autocast(
            device_type=self.device.type,
            dtype=self.mixed_precision_dtype,
            enabled=self.mixed_precision_dtype is not None,
        )

    @property
    def end_tokens(self) -> frozenset[int]:
        """Ids that end a response."""
        end = self._model.generation_config.eos_token_id
        return frozenset(end if isinstance(end, list) else [end]) - {None}

    def ending(self, until: Sequence[str], limit: int) -> Ending:
        """Return when a response ends: at one of these strings, or after ``limit`` tokens."""
        return Ending(self.end_tokens, tuple(until), limit, self.tokenizer)

    def text(self, response: list[int], until: Sequence[str]) -> str:
        """Return a response as ``hf`` does: without special tokens, cut where it ends."""
        text = self.tok_decode(response)
        cut: str = postprocess_generated_text(text, list(until), self.think_end_token)
        return cut

    def score(self, requests: Sequence[Score]) -> list[tuple[float, bool]]:
        """Score a batch under the current cut."""
        pairs = [(None, list(each.context), list(each.continuation)) for each in requests]
        return super()._loglikelihood_tokens(pairs, disable_tqdm=True)

    def generate(self, requests: Sequence[Generate]) -> list[str]:
        """Generate the responses to a batch under the current cut, through ``hf``."""
        instances = [
            request("generate_until", (each.text, json.loads(each.arguments)), i)
            for i, each in enumerate(requests)
        ]
        # max_length counts the padding of a batch, so each request needs its own batch.
        one_by_one = "max_length" in json.loads(requests[0].options)
        answers: list[str] = []
        for batch in [[each] for each in instances] if one_by_one else [instances]:
            answers += HFLM.generate_until(self, batch, disable_tqdm=True)
        return answers

    def _naming_requests(self) -> AbstractContextManager[None]:
        return nullcontext()  # who asked knows the document and the cut

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **options: Any
    ) -> torch.Tensor:
        """Generate responses through ``hf``, and end each where it would end in a batch of one.

        In a batch, ``hf`` goes on after a stop string until all responses have ended.
        """
        rows: torch.Tensor = super()._model_generate(context, max_length, stop, **options)
        beams = options.get("num_beams") or self._model.generation_config.num_beams
        if len(context) == 1 or (beams or 1) > 1:
            return rows
        start = context.shape[1]
        ending = self.ending(stop, max_length - start)
        if (end_tokens := options.get("eos_token_id")) is not None:
            listed = end_tokens if isinstance(end_tokens, list) else [end_tokens]
            ending = replace(ending, tokens=listed)
        for row in rows:
            row[start + ending.end(row[start:].tolist()) :] = self.tokenizer.pad_token_id
        return rows

    @property
    def unusual_decoding(self) -> list[str]:
        """The settings of the model itself that go beyond greedy decoding."""
        thinks = isinstance(self.think_end_token, int)
        return unusual_settings(self._model) + ["think_end_token"] * thinks


Model = TypeVar("Model", bound=SweepModel)


def load(
    kind: type[Model], settings: EvaluationSettings, model: PreTrainedModel | None = None
) -> Model:
    """Load the base model and the whole adapter.

    Args:
        kind: Class of the result.
        settings: Settings of a sweep or a trace.
        model: The base model, if it is loaded already; it is changed in place.

    Raises:
        ModelError: The base model cannot be loaded, or is not decoder-only.
        AdapterError: The adapter cannot be used.
    """
    arguments = settings.model_arguments() | ({} if model is None else {"pretrained": model})
    lm = kind(**arguments, device=usable_device(settings.device))
    lm.quotes_prompts = not settings.no_texts
    return lm
