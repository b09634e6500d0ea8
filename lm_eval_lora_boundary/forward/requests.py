"""What a sweep asks of a model, reduced to tokens, and what comes back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Score:
    """How likely is a continuation?

    Attributes:
        context: Token ids of the context; not empty.
        continuation: Token ids of the continuation; not empty.
    """

    context: tuple[int, ...]
    continuation: tuple[int, ...]

    @property
    def content(self) -> str:
        """Everything that decides the answer, as text."""
        return json.dumps(["score", self.context, self.continuation])

    @property
    def beginning(self) -> tuple[int, ...]:
        """Return the tokens that are read before any logits are needed."""
        return self.context[:-1]

    @property
    def length(self) -> int:
        """Return the number of tokens that are read or written."""
        return len(self.context) + len(self.continuation) - 1


@dataclass(frozen=True)
class Generate:
    """What does the model write?

    Attributes:
        prompt: Token ids of the prompt; not empty.
        until: Strings that end the response; the text of the end-of-text token among them.
        max_new_tokens: Most tokens to write.
        options: lm-eval's other generation arguments, as canonical JSON.
        text: The prompt before it was tokenised, and perhaps truncated.
        arguments: lm-eval's generation arguments as they came, as JSON.
        number: 0, 1, … for the same sampled request asked several times.
    """

    prompt: tuple[int, ...]
    until: tuple[str, ...]
    max_new_tokens: int
    options: str
    text: str = field(compare=False)
    arguments: str = field(compare=False)
    number: int = 0

    @property
    def content(self) -> str:
        """Everything that decides the answer, as text."""
        settings = [self.until, self.max_new_tokens, self.options, self.number]
        return json.dumps(["generate", self.prompt, *settings], ensure_ascii=False)

    @property
    def beginning(self) -> tuple[int, ...]:
        """Return the tokens that are read before any logits are needed."""
        return self.prompt[:-1]

    @property
    def length(self) -> int:
        """Return the largest number of tokens that are read or written."""
        return len(self.prompt) + self.max_new_tokens

    @property
    def is_sampled(self) -> bool:
        """Tell whether the response is drawn at random."""
        return bool(json.loads(self.options).get("do_sample"))

    def repeated(self, number: int) -> Generate:
        """Return the request as asked for the ``number``-th time."""
        return replace(self, number=number)

    @property
    def special_options(self) -> list[str]:
        """Return the arguments beyond plain greedy decoding."""
        options: dict[str, Any] = json.loads(self.options)
        plain = {"temperature", "top_p", "top_k", "do_sample"}
        return sorted(options.keys() - plain) + ["do_sample=True"] * self.is_sampled


Request = Score | Generate
# log-likelihood and whether the continuation is the greedy one; or the response
Answer = tuple[float, bool] | str
# the answers to one request, by boundary
Answers = dict[int, Answer]


def key(request: Request, identity: str) -> bytes:
    """Return the key under which the answers to a request are stored.

    Args:
        request: The request.
        identity: Everything else that decides an answer, the boundary apart: model, adapter,
            precision, versions.
    """
    return hashlib.sha256(f"{identity}\n{request.content}".encode()).digest()


def common_beginning(requests: Sequence[Request]) -> tuple[int, ...]:
    """Return the longest beginning that all requests share, before any logits are needed."""
    beginnings = [request.beginning for request in requests]
    # the first and the last in order differ earliest
    first, last = min(beginnings, default=()), max(beginnings, default=())
    return first[: shared_length(first, last)]


def shared_length(a: Sequence[object], b: Sequence[object]) -> int:
    """Return how many items at the beginning of two sequences are the same."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))
