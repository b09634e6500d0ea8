"""The requests of a sweep to a model, reduced to tokens, and their answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Score:
    """A request for the log-likelihood of a continuation.

    Attributes:
        context: Token ids, at least one.
        continuation: Token ids, at least one.
    """

    context: tuple[int, ...]
    continuation: tuple[int, ...]

    @property
    def content(self) -> str:
        """Everything in the request that decides the answer, as text."""
        return json.dumps(["score", self.context, self.continuation])

    @property
    def tokens(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids of what is read first, and of what is scored after it."""
        return self.context, self.continuation

    @property
    def beginning(self) -> tuple[int, ...]:
        """The tokens that are read before any logits are needed."""
        return self.context[:-1]

    @property
    def length(self) -> int:
        """Number of tokens that are read."""
        return len(self.context) + len(self.continuation) - 1


@dataclass(frozen=True)
class Generate:
    """A request for a response.

    Attributes:
        prompt: Token ids, at least one.
        until: Strings that end the response, including the text of the end-of-text token.
        max_new_tokens: Most tokens to write.
        options: lm-eval's other generation arguments, as JSON with sorted keys.
        text: The prompt before tokenisation, without truncation.
        arguments: lm-eval's unchanged generation arguments, as JSON.
        number: 0, 1, … for repeats of the same sampled request.
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
        """Everything in the request that decides the answer, as text."""
        settings = [self.until, self.max_new_tokens, self.options, self.number]
        return json.dumps(["generate", self.prompt, *settings], ensure_ascii=False)

    @property
    def tokens(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids of what is read first, and none that are scored."""
        return self.prompt, ()

    @property
    def beginning(self) -> tuple[int, ...]:
        """The tokens that are read before any logits are needed."""
        return self.prompt[:-1]

    @property
    def length(self) -> int:
        """Largest number of tokens that are read or written."""
        return len(self.prompt) + self.max_new_tokens

    @property
    def is_sampled(self) -> bool:
        """Whether the response is sampled."""
        return bool(json.loads(self.options).get("do_sample"))

    def repeated(self, number: int) -> Generate:
        """Return the repeat of this request with this number."""
        return replace(self, number=number)

    @property
    def special_options(self) -> list[str]:
        """The arguments that greedy decoding cannot follow."""
        options: dict[str, Any] = json.loads(self.options)
        plain = {"temperature", "top_p", "top_k", "do_sample"}
        return sorted(options.keys() - plain) + ["do_sample=True"] * self.is_sampled


Request = Score | Generate
# the log-likelihood and whether the continuation is the greedy one, or the response
Answer = tuple[float, bool] | str
# the answers to one request, in the order of the cuts
Answers = list[Answer]


def key(request: Request, identity: str) -> bytes:
    """Return the key under which the answers to a request are stored.

    ``identity`` is everything else that decides an answer, except the cut: model, adapter,
    precision, versions.
    """
    return hashlib.sha256(f"{identity}\n{request.content}".encode()).digest()


def common_beginning(requests: Sequence[Request]) -> tuple[int, ...]:
    """Return the longest beginning that all requests share, before any logits are needed."""
    beginnings = [request.beginning for request in requests]
    # of all pairs, the first and the last in sorted order share the least
    first, last = min(beginnings, default=()), max(beginnings, default=())
    return first[: shared_length(first, last)]


def shared_length(a: Sequence[object], b: Sequence[object]) -> int:
    """Return how many items two sequences have in common at the beginning."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))
