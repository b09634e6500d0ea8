"""When responses end, tried against the criteria that ``hf`` itself stops by."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from transformers import EosTokenCriteria, MaxLengthCriteria

from ..upstream.lm_eval_models import MultiTokenEOSCriteria, stop_sequences_criteria

_SHORT = 6  # tokens; a limit that the responses of the trial reach


@dataclass
class Ending:
    """When a response ends: exactly as in ``hf`` with a batch of one.

    Attributes:
        tokens: Ids that end a response.
        strings: Strings that end it; the empty string ends it at once.
        limit: Largest number of tokens to generate.
        tokenizer: Decodes token ids.
    """

    tokens: Collection[int]
    strings: Sequence[str]
    limit: int
    tokenizer: Any = field(repr=False)

    @cached_property
    def _windows(self) -> dict[int, list[str]]:
        """The strings, by the number of last tokens in which lm-eval looks for them."""
        windows: dict[int, list[str]] = {}
        for string in self.strings:
            criterion = MultiTokenEOSCriteria(string, self.tokenizer, 0, 1)
            windows.setdefault(criterion.sequence_id_len, []).append(string)
        return windows

    def reached(self, response: Sequence[int]) -> bool:
        """Return whether a response has ended at its last token, given that it had not before."""
        if len(response) >= self.limit or response[-1] in self.tokens:
            return True
        for window, strings in self._windows.items():
            text = self.tokenizer.decode(response[-window:])
            if any(string in text for string in strings):
                return True
        return False

    def end(self, tokens: Sequence[int]) -> int:
        """Return after how many of these tokens the response ends; all if it does not."""
        lengths = range(1, len(tokens) + 1)
        return next((n for n in lengths if self.reached(tokens[:n])), len(tokens))


def ending_difference(ending: Ending, end_tokens: int | Sequence[int] | None) -> str:
    """End responses in every possible way by both rules; return a difference, or "".

    Args:
        ending: The rule to try.
        end_tokens: The end-of-text tokens of the model's generation config.
    """
    listed = [end_tokens] if isinstance(end_tokens, int) else list(end_tokens or ())
    for response in _responses(ending, listed):
        for tried in (ending, replace(ending, limit=_SHORT)):
            ours, theirs = tried.end(response), _end_in_hf(tried, listed, response)
            if ours != theirs:
                text = ending.tokenizer.decode(response)
                return (
                    f"a trial ended the response {text!r:.80} after {ours} of its tokens, and hf "
                    f"does after {theirs}"
                )
    return ""


def _responses(ending: Ending, end_tokens: Sequence[int]) -> Iterator[list[int]]:
    """Yield responses that end at the limit, at each token and at each string."""
    encode = ending.tokenizer.encode
    filler = [(7 * i + 3) % len(ending.tokenizer) for i in range(_SHORT)]
    yield 2 * filler
    for token in end_tokens:
        yield [filler[0], token, *filler]
    for string in ending.strings:
        middle = len(string) // 2
        # As the tokenizer writes it, within other text, and in other pieces.
        for parts in ([string], [f"a{string}a"], [string[:middle], string[middle:]], [*string]):
            tokens = [token for part in parts for token in encode(part, add_special_tokens=False)]
            yield [*tokens, *filler]
            yield [*filler[:2], *tokens, *filler]


def _end_in_hf(ending: Ending, end_tokens: Sequence[int], response: list[int]) -> int:
    """Return after how many tokens ``hf`` ends a response in a batch of one."""
    criteria: Any = stop_sequences_criteria(ending.tokenizer, list(ending.strings), 0, 1)
    criteria.append(MaxLengthCriteria(ending.limit))
    if end_tokens:
        criteria.append(EosTokenCriteria(list(end_tokens)))
    lengths = range(1, len(response) + 1)
    ended = (n for n in lengths if criteria(torch.tensor([response[:n]]), None).item())
    return next(ended, len(response))
