"""Refuse logits that are NaN or infinite, and name the request that has them.

lm-eval's ``hf`` would go on: NaN is the largest number for ``argmax``, so a response would be made
of the token with number 0, and a log-likelihood of NaN would become the value of a task.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lm_eval.api.instance import Instance
from transformers import LogitsProcessor

from ..errors import ModelError, NotFiniteError
from ..forward.score import impossible
from ..upstream.lm_eval import get_rolling_token_windows, rolling_text
from .user_errors import exit_on_user_error

_SHOWN = 60  # characters of a request in a message


class FiniteLogits(LogitsProcessor):
    """Raises an error if ``generate`` cannot choose a next token; changes nothing."""

    def __init__(self, mask: torch.Tensor, prompts: int) -> None:
        """Prepare for prompts whose tokens, at the end of a row, have 1 in ``mask``."""
        self._mask = mask
        self._prompts = prompts

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Check scores (rows, vocab) after input_ids (rows, seq).

        Raises:
            NotFiniteError: A score is NaN or +inf, or all of a row are -inf.
        """
        wrong = (~scores.amax(dim=-1).isfinite()).nonzero()
        if len(wrong):
            row = int(wrong[0])
            prompt = row * self._prompts // len(scores)  # beams of a prompt are next to each other
            tokens = input_ids[row, : self._mask.shape[1]]
            raise NotFiniteError(tokens[self._mask[prompt].bool()].tolist())
        return scores


def check_scored(
    answer: tuple[float, bool], logits: torch.Tensor, context: Sequence[int], tokens: Sequence[int]
) -> tuple[float, bool]:
    """Return the score of a continuation, unless a logit behind it is NaN or infinite.

    Args:
        answer: The score.
        logits: The logits it comes from, (tokens, vocab).
        context: Token ids of the context.
        tokens: Token ids of the continuation.

    Raises:
        NotFiniteError: There is such a logit.
    """
    if not math.isfinite(answer[0]):
        index = torch.tensor(tokens, device=logits.device).unsqueeze(1)
        targets = logits[-len(tokens) :].gather(1, index)
        if math.isnan(answer[0]) or impossible(torch.full_like(targets, -math.inf), targets).any():
            raise NotFiniteError(context, tokens)
    return answer


@contextmanager
def named_by_text(lm: Any, precision: object) -> Iterator[None]:
    """Name a request by its text if its logits are NaN or infinite.

    On lm-eval's command line, that ends the program in one line.

    Args:
        lm: An lm-eval model.
        precision: Precision of its weights.

    Raises:
        ModelError: They are.
    """
    with exit_on_user_error(), _renamed(lm, precision):
        yield


@contextmanager
def _renamed(lm: Any, precision: object) -> Iterator[None]:
    try:
        yield
    except NotFiniteError as error:
        tokens = [*error.context, *error.continuation]
        text = " ".join(lm.tokenizer.decode(tokens, skip_special_tokens=True).split())
        start = "…" if len(text) > _SHOWN else ""
        raise ModelError(
            f"the request that ends with {start + text[-_SHOWN:]!r}: its logits are NaN or "
            f"infinite in {precision}; {error.REMEDY}"
        ) from error


def named_by_document(
    error: NotFiniteError, lm: Any, task: str, number: int, instances: Sequence[Instance]
) -> ModelError:
    """Return the error that names the document of a request.

    Args:
        error: The error.
        lm: The model.
        task: Name of the task.
        number: Number of the token request among those that lm-eval made of the instances.
        instances: lm-eval's requests.
    """
    owners = [
        instance
        for instance in instances
        for _ in range(
            _windows(lm, rolling_text(instance))
            if instance.request_type == "loglikelihood_rolling"
            else 1
        )
    ]
    return ModelError(
        f"{task}, document {owners[number].doc_id}: the logits under {error.cut} are NaN or "
        f"infinite in {lm.dtype_name}; {error.REMEDY}"
    )


def _windows(lm: Any, text: str) -> int:
    """Return the number of windows in which lm-eval scores a text."""
    windows = get_rolling_token_windows(
        token_list=lm.tok_encode(text),
        prefix_token=lm.prefix_token_id,
        max_seq_len=lm.max_length,
        context_len=1,
    )
    return sum(1 for _ in windows)
