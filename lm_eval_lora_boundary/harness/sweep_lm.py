"""The lm-eval model of a sweep: every request is answered once, under all boundaries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, postprocess_generated_text

from ..cuts.adapter_folder import AdapterFolder
from ..cuts.cut import LoraCut
from ..cuts.effect import refuse_no_effect
from ..cuts.fingerprint import fingerprint, weights_sample
from ..cuts.loading import load_adapter
from ..cuts.vocabulary import growing, refuse_tokens_without_rows
from ..errors import TaskError
from ..forward.requests import Answer, Generate, Request, Score
from .endings import Ending
from .generation_args import (
    as_text,
    check_arguments,
    check_max_length,
    normalised,
    unusual_settings,
)
from .model import LoraBoundaryLM
from .model_info import describe

_T = TypeVar("_T")
_EVERYTHING = 1 << 30  # batch size: hand all requests over at once, batches are made later


class Answering(Protocol):
    """Gives the answers to requests at a boundary."""

    def __call__(self, requests: Sequence[Request], boundary: int, task: str) -> Sequence[Answer]:
        """Return the answers to requests of one task and kind."""


class SweepLM(LoraBoundaryLM):
    """A model whose boundary can be moved between evaluations.

    lm-eval builds the requests and computes the scores. The requests, reduced to tokens, go to
    ``answering`` with the boundary in force.

    Attributes:
        boundary: The boundary that lm-eval is evaluating.
        cut: The cut, at the full adapter unless an engine is at work.
        answering: What answers requests.
        fingerprint: Hash of the base model's weights.
        base_sample: Hash that tells base models apart in any precision.
    """

    divides_batches = False  # of what it is given; that is a share already

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
        self.answering: Answering
        self._task = ""
        self._prompts: dict[tuple[str, str], Generate] = {}
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

    @property
    def facts(self) -> dict[str, Any]:
        """What the results JSON says about the cut."""
        return dict(self._facts)

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

    def at(self, boundary: int) -> None:
        """Let lm-eval evaluate this boundary from now on."""
        self.boundary = boundary
        self._facts = describe(self.cut, boundary, self.adapter, merge=False)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse generation arguments that nothing takes.

        Raises:
            TaskError: There is one.
        """
        check_arguments(options, self.cut.model.get_base_model(), self._task)

    @property
    def engine_facts(self) -> dict[str, Any]:
        """What decides an answer besides model, adapter and prompts."""
        return {"dtype": str(self._model.dtype), "device": self.device.type}

    # --- from lm-eval: its requests, reduced to tokens

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the responses at the boundary in force."""
        del disable_tqdm
        return self._by_task(requests, self._generate_task)

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """Return the scores of continuations at the boundary in force."""
        del disable_tqdm
        score = super().loglikelihood
        return self._by_task(requests, lambda each: score(each, disable_tqdm=True))

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[float]:
        """Return the scores of whole texts at the boundary in force."""
        del disable_tqdm
        score = super().loglikelihood_rolling
        return self._by_task(requests, lambda each: score(each, disable_tqdm=True))

    def _by_task(
        self, requests: list[Instance], answer: Callable[[list[Instance]], Sequence[_T]]
    ) -> list[_T]:
        """Answer the requests of one task after the other, since they have much in common."""
        tasks = [request.task_name or "" for request in requests]
        answers: dict[int, _T] = {}
        for task in dict.fromkeys(tasks):
            mine = [i for i, name in enumerate(tasks) if name == task]
            self._task = task
            answers |= zip(mine, answer([requests[i] for i in mine]), strict=True)
        return [answers[i] for i in range(len(requests))]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], *_: Any, **__: Any
    ) -> list[tuple[float, bool]]:
        scores = [self._as_score(context, rest) for _, context, rest in requests]
        assert self.boundary is not None
        answers = self.answering(scores, self.boundary, self._task)
        return [answer for answer in answers if not isinstance(answer, str)]

    def _as_score(self, context: list[int], continuation: list[int]) -> Score:
        # what does not fit is cut from the left; the last token is never read
        room = self.max_length + 1 - len(continuation)
        if not continuation or room < 1:
            raise TaskError(
                f"{self._task}: a continuation of {len(continuation)} tokens cannot be scored "
                f"with max_length={self.max_length}; expected 1 to {self.max_length} tokens"
            )
        return Score(tuple(context[-room:]), tuple(continuation))

    def _generate_task(self, requests: list[Instance]) -> list[str]:
        seen: dict[Generate, int] = {}
        prompts = []
        for request in requests:
            prompt = self._as_prompt(*request.args)
            if prompt.is_sampled:  # asked several times, answered anew each time
                seen[prompt] = number = seen.get(prompt, -1) + 1
                prompt = prompt.repeated(number)
            prompts.append(prompt)
        assert self.boundary is not None
        answers = self.answering(prompts, self.boundary, self._task)
        return [answer for answer in answers if isinstance(answer, str)]

    def _as_prompt(self, text: str, arguments: dict[str, Any]) -> Generate:
        raw = as_text(arguments, self._task)
        if (text, raw) in self._prompts:
            return self._prompts[text, raw]
        options = normalised(arguments, self.max_gen_toks, self.max_length, self._task)
        end = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        until = handle_stop_sequences(options.pop("until", None), eos=end)
        limit = options.pop("max_gen_toks")
        self.check_options(options)
        tokens, _ = self.tok_batch_encode(
            [text], left_truncate_len=self.max_length - limit, truncation=self.truncation
        )
        check_max_length(options, tokens.shape[1], self._task)
        prompt = Generate(
            tuple(tokens[0].tolist()),
            tuple(until),
            limit,
            json.dumps(options, sort_keys=True),
            text,
            raw,
        )
        self._prompts[text, raw] = prompt
        return prompt

    # --- for engines

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
        """Return when a response ends: at one of these strings, after so many tokens, or both."""
        return Ending(self.end_tokens, tuple(until), limit, self.tokenizer)

    def text(self, response: list[int], until: Sequence[str]) -> str:
        """Return a response as ``hf`` does: without special tokens, cut at what ends it."""
        text = self.tok_decode(response)
        cut: str = postprocess_generated_text(text, list(until), self.think_end_token)
        return cut

    def score(self, requests: Sequence[Score]) -> list[tuple[float, bool]]:
        """Score a batch with the model as it is."""
        pairs = [(None, list(each.context), list(each.continuation)) for each in requests]
        return super()._loglikelihood_tokens(pairs, disable_tqdm=True)

    def generate(self, requests: Sequence[Generate]) -> list[str]:
        """Answer a batch with the model as it is, through ``hf``."""
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
        """Return what in the model's own settings makes greedy decoding more than that."""
        found = unusual_settings(self._model)
        if isinstance(self.think_end_token, int):
            found.append("think_end_token")
        return found
