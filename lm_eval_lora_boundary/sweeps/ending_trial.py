"""A trial of when responses end, against the criteria that ``hf`` itself stops by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from lm_eval.models.utils_hf import stop_sequences_criteria
from transformers import EosTokenCriteria, MaxLengthCriteria, StoppingCriteriaList

from .decoding import Ending

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
