"""Engine ``vllm``: all cuts at once in one vLLM engine, each as a LoRA adapter of its own.

vLLM loads an ordinary adapter folder for each cut, and none for the base model. It batches
requests to all of them together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..cuts.base_model import loading_base
from ..cuts.keep import Cut
from ..errors import ModelError, NotFiniteError, TaskError
from ..forward.requests import Answer, Answers, Generate, Request, Score, key
from .sweep_lm import VllmSweepLM
from .written import ONLY_CHOSEN, log_probs

_MOST_SLOTS = 128  # adapters in memory at once; more cuts than that take turns


class Vllm:
    """Answers batches in vLLM, which starts with the first batch.

    One LoRA slot always stays empty: in vLLM 0.32 on CPU, requests without an adapter read the
    last slot, and an empty slot adds nothing (docs/upstream.md). Adapters that are no longer needed
    are removed before new ones are loaded, or vLLM would put these into the empty slot.
    """

    name = "vllm"
    AT_ONCE = 4096  # rows of a batch, which is stored in one transaction

    def __init__(self, lm: VllmSweepLM) -> None:
        """Prepare; vLLM is not started yet."""
        self._lm = lm
        self._folder = TemporaryDirectory(prefix="lora-boundary-")
        self._engine: Any = None  # lm-eval's model around vLLM
        self._slots = 0
        self._loaded: dict[Cut, Any] = {}  # the adapters in slots
        self._numbers: dict[Cut, int] = {}  # of adapters that were loaded at any time

    def rows(self, cuts: int) -> int:
        """Return how many rows a request takes in a batch."""
        return cuts

    def passes(self, cuts: Sequence[Cut]) -> int:
        """Return the number of layer passes that a token takes under all cuts."""
        return len(cuts) * self._lm.layers

    def prepare(
        self, requests: Sequence[Request], cuts: Sequence[Cut]
    ) -> Callable[[Sequence[Request]], list[Answers]]:
        """Return a function that answers batches of these requests under these cuts."""
        return partial(self._answer_batch, cuts)

    def _answer_batch(self, cuts: Sequence[Cut], requests: Sequence[Request]) -> list[Answers]:
        if self._engine is None:
            self._start(cuts)
        answers: list[Answers] = [[] for _ in requests]
        room = self._slots - 1
        for first in range(0, len(cuts), room):
            group = cuts[first : first + room]
            adapters = self._load(group)
            rows = [(number, cut) for number in range(len(requests)) for cut in group]
            outputs = self._engine.model.generate(
                [{"prompt_token_ids": _tokens(requests[number])} for number, _ in rows],
                [self._parameters(requests[number]) for number, _ in rows],
                lora_request=[adapters.get(cut) for _, cut in rows],
                use_tqdm=False,
            )
            for (number, cut), output in zip(rows, outputs, strict=True):
                answer, log_probs = self._answer(requests[number], output)
                if not all(map(math.isfinite, log_probs)):
                    raise NotFiniteError(*requests[number].tokens, cuts.index(cut))
                answers[number].append(answer)
        return answers

    def _start(self, cuts: Sequence[Cut]) -> None:
        """Start vLLM with a slot for every adapter, and one more."""
        from lm_eval.models.vllm_causallms import VLLM

        slots = 1 + min(_MOST_SLOTS, sum(not cut.keeps_none for cut in cuts))
        arguments: dict[str, Any] = {"enable_lora": True, "max_loras": slots, "batch_size": "auto"}
        arguments |= self._lm.cut_folders.vllm_arguments() | self._lm.vllm_arguments
        self._slots = int(arguments["max_loras"])
        if self._slots < 2:
            raise ModelError(
                f"max_loras={self._slots}; expected at least 2, because one slot must stay empty"
            )
        with loading_base(arguments["pretrained"]):
            self._engine = VLLM(**arguments)
        length = self._engine.max_length
        if length < self._lm.max_length:
            raise ModelError(
                f"vLLM reads at most {length} tokens here, but the prompts were made for "
                f"{self._lm.max_length}; give --model-args max_model_len={length}"
            )

    def _load(self, cuts: Sequence[Cut]) -> dict[Cut, Any]:
        """Return vLLM's handle of the adapter of each cut; the base model has none."""
        from vllm.lora.request import LoRARequest

        needed = [cut for cut in cuts if not cut.keeps_none]
        if len({*self._loaded, *needed}) > self._slots - 1:
            for cut in self._loaded.keys() - set(needed):
                self._engine.model.llm_engine.remove_lora(self._loaded.pop(cut).lora_int_id)
        for cut in needed:
            if cut not in self._loaded:
                path = self._lm.cut_folders.write(cut, Path(self._folder.name))
                # vLLM caches keys and values by name, and identifies adapters by number.
                number = self._numbers.setdefault(cut, len(self._numbers) + 1)
                self._loaded[cut] = LoRARequest(str(cut), number, str(path))
        return {cut: self._loaded[cut] for cut in needed}

    def _parameters(self, request: Request) -> Any:
        """Return vLLM's parameters for a request."""
        from vllm import SamplingParams

        if isinstance(request, Score):
            return SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=1, detokenize=False)
        assert isinstance(request, Generate)
        options = json.loads(request.options)
        options.pop("do_sample", None)
        options["logprobs"] = ONLY_CHOSEN
        if request.is_sampled:
            # Every cut draws the same random numbers, whatever was answered before.
            options["seed"] = int.from_bytes(key(request, "")[:4], "big")
        else:
            options |= {"temperature": 0}
        try:
            return SamplingParams(
                # vLLM does not take the empty string, which ends a response at its first token.
                max_tokens=1 if "" in request.until else request.max_new_tokens,
                stop=[text for text in request.until if text],
                stop_token_ids=sorted(self._lm.end_tokens),
                **options,
            )
        except (TypeError, ValueError) as error:
            raise TaskError(
                f"vLLM does not take these generation arguments: {error}; leave them out, or use "
                "--engine auto"
            ) from error

    def _answer(self, request: Request, output: Any) -> tuple[Answer, list[float]]:
        """Return an answer, and the log-probabilities that it rests on."""
        if isinstance(request, Score):
            score: tuple[float, bool] = self._engine._parse_logprobs(
                _tokens(request), output, len(request.context)
            )
            return score, [score[0]]
        assert isinstance(request, Generate)
        tokens = list(output.outputs[0].token_ids)
        return self._lm.text(tokens, request.until), log_probs(output)

    def close(self) -> None:
        """Stop vLLM and remove the cuts."""
        self._engine = None
        self._folder.cleanup()


def _tokens(request: Request) -> list[int]:
    if isinstance(request, Score):
        return [*request.context, *request.continuation]
    return list(request.prompt)
