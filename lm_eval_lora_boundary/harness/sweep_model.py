"""The model of a sweep: loaded once, with a movable boundary, as the engines need it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import postprocess_generated_text

from ..cuts.adapter_folder import AdapterFolder
from ..cuts.cut import LoraCut
from ..cuts.effect import refuse_no_effect
from ..cuts.fingerprint import fingerprint, weights_sample
from ..cuts.loading import load_adapter
from ..cuts.vocabulary import growing, refuse_tokens_without_rows
from ..forward.requests import Generate, Score
from .endings import Ending
from .generation_args import unusual_settings
from .model import LoraBoundaryLM

_EVERYTHING = 1 << 30  # batch size: take all requests at once, since engines make the batches


class SweepModel(LoraBoundaryLM):
    """A base model with the whole adapter, whose boundary can be moved.

    Attributes:
        boundary: The boundary that lm-eval is evaluating.
        cut: The cut, at the whole adapter unless an engine is at work.
        fingerprint: Hash of the base model's weights.
        base_sample: Hash that tells base models apart, whatever their precision.
    """

    divides_batches = False  # the scheduler has divided them among the processes already

    def __init__(self, pretrained: Any, *, peft: str, **kwargs: Any) -> None:
        """Load the base model and the whole adapter.

        Args:
            pretrained: As in :class:`.LoraBoundaryLM`.
            peft: As there.
            **kwargs: As there, without ``boundary``, ``merge`` and ``batch_size``.

        Raises:
            AdapterError: As there.
            ModelError: As there.
        """
        self.cut: LoraCut
        self.fingerprint = self.base_sample = ""
        super().__init__(pretrained, peft=peft, batch_size=_EVERYTHING, **kwargs)

    def _attach(self, adapter: AdapterFolder) -> None:
        self.fingerprint = fingerprint(self._model)
        self.base_sample = weights_sample(self._model)
        self._grows = bool(growing(self._model, adapter))
        self.cut = load_adapter(self._model, adapter, boundary=-1)
        self.boundary = self.layers - 1
        refuse_no_effect(self.cut, self.boundary)
        # not the base model inside: PEFT does some of its work outside the layers
        self._model = self.cut.model
        self._model.eval()

    @property
    def layers(self) -> int:
        """Number of decoder layers, N."""
        return self.cut.stack.count

    @property
    def adapter(self) -> AdapterFolder:
        """The adapter's folder."""
        assert self._adapter is not None
        return self._adapter

    def check(self, boundaries: Sequence[int]) -> None:
        """Refuse boundaries at which the model cannot be used.

        Raises:
            AdapterError: At one of them no module is left, or the tokenizer has tokens without
                embeddings.
        """
        for boundary in boundaries:
            refuse_no_effect(self.cut, boundary)
            if self._grows:
                with self.cut:
                    self.cut.move(boundary)
                    refuse_tokens_without_rows(self._model, len(self.tokenizer), boundary)

    @property
    def engine_facts(self) -> dict[str, Any]:
        """What decides an answer besides model, adapter and prompts."""
        return {"dtype": str(self._model.dtype), "device": self.device.type}

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
        """Return a response as ``hf`` does: without special tokens, cut at what ends it."""
        text = self.tok_decode(response)
        cut: str = postprocess_generated_text(text, list(until), self.think_end_token)
        return cut

    def score(self, requests: Sequence[Score]) -> list[tuple[float, bool]]:
        """Score a batch at the boundary of ``cut``."""
        pairs = [(None, list(each.context), list(each.continuation)) for each in requests]
        return super()._loglikelihood_tokens(pairs, disable_tqdm=True)

    def generate(self, requests: Sequence[Generate]) -> list[str]:
        """Write the responses to a batch at the boundary of ``cut``, through ``hf``."""
        instances = [
            Instance("generate_until", {}, (each.text, json.loads(each.arguments)), i)
            for i, each in enumerate(requests)
        ]
        # max_length counts the padding of a batch
        apart = "max_length" in json.loads(requests[0].options)
        answers: list[str] = []
        for some in [[each] for each in instances] if apart else [instances]:
            answers += HFLM.generate_until(self, some, disable_tqdm=True)
        return answers

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **options: Any
    ) -> torch.Tensor:
        """Write responses through ``hf``; each ends where it would end if it were alone.

        In a batch, ``hf`` lets one that holds a stop string go on for as long as the others do.
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
        """Return the settings of the model itself that make decoding more than greedy."""
        found = unusual_settings(self._model)
        if isinstance(self.think_end_token, int):
            found.append("think_end_token")
        return found
