"""The lm-eval model of a sweep: it makes token requests, and somebody else answers them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from lm_eval.api.instance import Instance
from lm_eval.models.utils import handle_stop_sequences

from ..errors import TaskError
from ..forward.requests import Answer, Generate, Request, Score
from .generation_args import (
    as_text,
    check_arguments,
    check_max_length,
    normalised,
)
from .model_info import describe
from .sweep_model import SweepModel

_T = TypeVar("_T")


class AnswerSource(Protocol):
    """Answers requests at one boundary."""

    def __call__(self, requests: Sequence[Request], task: str) -> Sequence[Answer]:
        """Return the answers to requests of one task and kind."""


def made_up_answers(requests: Sequence[Request], task: str) -> list[Answer]:
    """Answer anything; an :class:`AnswerSource` for when lm-eval is only to build its requests."""
    del task
    return ["" if isinstance(request, Generate) else (0.0, False) for request in requests]


class SweepLM(SweepModel):
    """What lm-eval evaluates in a sweep.

    lm-eval builds the requests and computes the scores. In between, the requests are reduced to
    tokens and go to the source of answers that :meth:`evaluated` was given.
    """

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
        self._answers: AnswerSource | None = None
        self._task = ""
        self._prompts: dict[tuple[str, str], Generate] = {}
        super().__init__(pretrained, peft=peft, **kwargs)

    @property
    def facts(self) -> dict[str, Any]:
        """What the results JSON says about the cut."""
        return dict(self._facts)

    @contextmanager
    def evaluated(self, boundary: int, answers: AnswerSource) -> Iterator[None]:
        """Let lm-eval evaluate a boundary in this block.

        Args:
            boundary: The boundary.
            answers: Answers the requests.
        """
        self.boundary = boundary
        self._facts = describe(self.cut, boundary, self.adapter, merge=False)
        self._answers = answers
        try:
            yield
        finally:
            self._answers = None

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse generation arguments that nothing takes.

        Raises:
            TaskError: There is one.
        """
        check_arguments(options, self.cut.model.get_base_model(), self._task)

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
        return [answer for answer in self._ask(scores) if not isinstance(answer, str)]

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
        return [answer for answer in self._ask(prompts) if isinstance(answer, str)]

    def _ask(self, requests: Sequence[Request]) -> Sequence[Answer]:
        assert self._answers is not None  # lm-eval is at work only within `evaluated`
        return self._answers(requests, self._task)

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
