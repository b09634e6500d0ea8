"""The lm-eval model of a sweep: it makes token requests, which others answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from lm_eval.api.instance import Instance

from ..cuts.keep import Cut
from ..errors import NotFiniteError, TaskError
from ..forward.requests import Answer, Generate, Request, Score
from ..upstream.lm_eval_models import handle_stop_sequences
from .finite import named_by_document
from .generation_args import as_text, check_max_length, check_names, completed
from .model_info import describe
from .sweep_model import SweepModel

_T = TypeVar("_T")
# Answers requests of one kind under one cut; takes them and the name of their task.
AnswerSource = Callable[[Sequence[Request], str], Sequence[Answer]]


def made_up_answers(requests: Sequence[Request], task: str) -> list[Answer]:
    """Answer anything; an :class:`AnswerSource` for when only the requests matter."""
    return ["" if isinstance(request, Generate) else (0.0, False) for request in requests]


class SweepLM(SweepModel):
    """The model that lm-eval evaluates in a sweep.

    lm-eval builds the requests and computes the scores. In between, this model turns the requests
    into tokens and passes them to the source of answers that :meth:`evaluated` was given.
    """

    _answers: AnswerSource | None = None
    _task = ""
    _instances: Sequence[Instance] = ()  # the requests of the task, as lm-eval made them

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Load the base model and the whole adapter, as :class:`.SweepModel` does."""
        super().__init__(*args, **kwargs)
        self._prompts: dict[tuple[str, str], Generate] = {}

    @property
    def facts(self) -> dict[str, Any]:
        """The facts about the cut in the results JSON."""
        return dict(self._facts)

    @contextmanager
    def evaluated(self, cut: Cut, answers: AnswerSource | None) -> Iterator[None]:
        """Take answers under a cut from ``answers`` within this block."""
        self.boundary = cut.boundary
        self._facts = describe(self.cut, cut, self.adapter, merge=False)
        self._answers = answers
        try:
            yield
        finally:
            self._answers = None

    @property
    def vocabulary(self) -> int | None:
        """Number of rows of the model's embedding; None if it is not known here."""
        embedding = self.cut.model.get_base_model().get_input_embeddings()
        rows = getattr(embedding, "num_embeddings", None)
        return rows if isinstance(rows, int) else None

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise a TaskError if a generation argument is unknown."""
        check_names(options, self.cut.model.get_base_model())

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the responses under the current cut."""
        self.see(requests)
        return self._by_task(requests, self._generate_task)

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """Return the scores of continuations under the current cut."""
        return self._by_task(requests, partial(super().loglikelihood, disable_tqdm=disable_tqdm))

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[float]:
        """Return the scores of whole texts under the current cut."""
        score = super().loglikelihood_rolling
        return self._by_task(requests, partial(score, disable_tqdm=disable_tqdm))

    def _by_task(
        self, requests: list[Instance], answer: Callable[[list[Instance]], Sequence[_T]]
    ) -> list[_T]:
        """Answer the requests task by task, because those of a task have much in common."""
        tasks = [request.task_name or "" for request in requests]
        answers: dict[int, _T] = {}
        for task in dict.fromkeys(tasks):
            numbers = [number for number, name in enumerate(tasks) if name == task]
            self._task, self._instances = task, [requests[number] for number in numbers]
            answers |= zip(numbers, answer(self._instances), strict=True)
        return [answers[number] for number in range(len(requests))]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], *_: Any, **__: Any
    ) -> list[tuple[float, bool]]:
        scores = [self._as_score(context, continuation) for _, context, continuation in requests]
        return [answer for answer in self._ask(scores) if not isinstance(answer, str)]

    def _as_score(self, context: list[int], continuation: list[int]) -> Score:
        # What does not fit is cut from the left. The model never reads the last token.
        room = self.max_length + 1 - len(continuation)
        if not continuation or room < 1:
            raise TaskError(
                f"{self._task}: a continuation of {len(continuation)} tokens cannot be scored "
                f"with max_length={self.max_length}; expected 1 to {self.max_length} tokens"
            )
        self._check_rows([*context, *continuation], f"{self._task}: ")
        return Score(tuple(context[-room:]), tuple(continuation))

    def _check_rows(self, tokens: Sequence[int], start: str = "") -> None:
        """Raise a TaskError, which begins with ``start``, if a token has no embedding."""
        rows = self.vocabulary
        if rows is not None and tokens and max(tokens) >= rows:
            token = max(tokens)
            raise TaskError(
                f"{start}the text has token {token} "
                f"({self.tok_decode([token], skip_special_tokens=False)!r}), and the model's "
                f"embedding has {rows} rows; give the tokenizer that the model was trained with"
            )

    def _generate_task(self, requests: list[Instance]) -> list[str]:
        repeats: dict[Generate, int] = {}
        prompts = []
        for request in requests:
            prompt = self._as_prompt(*request.args)
            if prompt.is_sampled:  # a repeated request gets a new answer each time
                repeats[prompt] = number = repeats.get(prompt, -1) + 1
                prompt = prompt.repeated(number)
            prompts.append(prompt)
        return [answer for answer in self._ask(prompts) if isinstance(answer, str)]

    def _ask(self, requests: Sequence[Request]) -> Sequence[Answer]:
        assert self._answers is not None  # lm-eval calls the model only within `evaluated`
        try:
            return self._answers(requests, self._task)
        except NotFiniteError as error:
            tokens = (error.context, error.continuation)
            number = [each.tokens for each in requests].index(tokens)
            raise named_by_document(error, self, self._task, number, self._instances) from error

    def _as_prompt(self, text: str, arguments: dict[str, Any]) -> Generate:
        try:
            key = (text, as_text(arguments))
            if key not in self._prompts:
                self._prompts[key] = self._new_prompt(*key, arguments)
            return self._prompts[key]
        except TaskError as error:
            raise TaskError(f"{self._task}: {error}") from error

    def _new_prompt(self, text: str, as_given: str, arguments: dict[str, Any]) -> Generate:
        options = completed(arguments, self.max_gen_toks, self.max_length)
        end = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        until = handle_stop_sequences(options.pop("until", None), eos=end)
        limit = options.pop("max_gen_toks")
        self.check_options(options)
        tokens, _ = self.tok_batch_encode(
            [text], left_truncate_len=self.max_length - limit, truncation=self.truncation
        )
        if not tokens.shape[1]:
            raise TaskError(
                "the prompt of a document is empty, and a model needs at least one token to "
                "continue from; leave out add_bos_token=False, or change the task's doc_to_text"
            )
        self._check_rows(tokens[0].tolist())
        check_max_length(options, tokens.shape[1])
        rest = json.dumps(options, sort_keys=True)
        return Generate(tuple(tokens[0].tolist()), tuple(until), limit, rest, text, as_given)
