"""A trial of when responses end, against the criteria that ``hf`` itself stops by."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from lm_eval.models.utils_hf import MultiTokenEOSCriteria, stop_sequences_criteria
from transformers import EosTokenCriteria, MaxLengthCriteria, StoppingCriteriaList

_FEW = 6  # tokens; a limit that the texts of the trial reach


def ending_difference(ending: Ending, end_tokens: int | Sequence[int] | None) -> str:
    """Let responses end by both rules, in every way there is; return what differs, or "".

    Args:
        ending: The rule to try.
        end_tokens: The end-of-text tokens of the model's generation config.
    """
    listed = [end_tokens] if isinstance(end_tokens, int) else list(end_tokens or ())
    vocabulary = len(ending.tokenizer)
    filler = [(7 * i + 3) % vocabulary for i in range(_FEW)]
    for response in _responses(ending, listed, filler):
        for tried in (ending, replace(ending, limit=_FEW)):
            found, expected = tried.end(response), _expected(tried, listed, response)
            if found != expected:
                text = ending.tokenizer.decode(response)
                return (
                    f"a trial ended the response {text!r:.80} after {found} of its tokens, and "
                    f"hf does after {expected}"
                )
    return ""


def _responses(ending: Ending, listed: Sequence[int], filler: list[int]) -> Iterator[list[int]]:
    """Yield responses that end at the limit, at each token and at each string."""
    yield 2 * filler
    for token in listed:
        yield [filler[0], token, *filler]
    for string in ending.strings:
        middle = len(string) // 2
        # as the tokenizer writes it, within other text, and in other pieces
        for parts in ([string], [f"a{string}a"], [string[:middle], string[middle:]], [*string]):
            tokens = [
                token
                for part in parts
                for token in ending.tokenizer.encode(part, add_special_tokens=False)
            ]
            yield [*tokens, *filler]
            yield [*filler[:2], *tokens, *filler]


def _expected(ending: Ending, listed: Sequence[int], response: list[int]) -> int:
    """Return after how many tokens ``hf`` ends a response that it writes alone."""
    criteria: Any = StoppingCriteriaList(
        [
            *stop_sequences_criteria(ending.tokenizer, list(ending.strings), 0, 1),
            MaxLengthCriteria(ending.limit),
        ]
    )
    if listed:
        criteria.append(EosTokenCriteria(list(listed)))
    for length in range(1, len(response) + 1):
        if criteria(torch.tensor([response[:length]]), None).item():
            return length
    return len(response)


@dataclass
class Ending:
    """When a response ends: as in ``hf``, which answers it alone.

    Attributes:
        tokens: Ids that end a response.
        strings: Strings that end it; the empty one ends it at once.
        limit: Most tokens to write.
        tokenizer: Turns token ids into text.
    """

    tokens: Collection[int]
    strings: Sequence[str]
    limit: int
    tokenizer: Any = field(repr=False)

    @cached_property
    def _windows(self) -> dict[int, list[str]]:
        """The strings, by the number of last tokens that lm-eval looks for them in."""
        windows: dict[int, list[str]] = {}
        for string in self.strings:
            criterion = MultiTokenEOSCriteria(string, self.tokenizer, 0, 1)
            windows.setdefault(criterion.sequence_id_len, []).append(string)
        return windows

    def reached(self, response: Sequence[int]) -> bool:
        """Tell whether a response, which had not ended before its last token, has ended."""
        if len(response) >= self.limit or response[-1] in self.tokens:
            return True
        for tokens, strings in self._windows.items():
            text = self.tokenizer.decode(response[-tokens:])
            if any(string in text for string in strings):
                return True
        return False

    def end(self, tokens: Sequence[int]) -> int:
        """Return how many of these tokens are written before the response ends, or all."""
        lengths = range(1, len(tokens) + 1)
        return next((n for n in lengths if self.reached(tokens[:n])), len(tokens))
