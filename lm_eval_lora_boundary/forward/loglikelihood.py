"""Log-likelihoods with logits computed only where a token is scored.

lm-eval's ``hf`` computes logits and their softmax at every position of a prompt, although only
the continuation is scored. Here the output head sees the scored positions alone; everything else,
including the order of requests and the sharing of one-token continuations, is lm-eval's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from ..errors import ModelError

# lm-eval's command line shows the loggers below "lm_eval" only
logger = logging.getLogger("lm_eval.lora_boundary")


def scored_logits(
    forward: Callable[[torch.Tensor], torch.Tensor], head: nn.Module | None, batch: Batch
) -> torch.Tensor:
    """Run a model and return its logits at the scored positions, shape (scored, vocab).

    Args:
        forward: Takes token ids (batch, seq), returns logits (batch, seq, vocab).
        head: The model's output embeddings, if it names them.
        batch: The inputs.
    """
    with head_at(head, batch.rows, batch.positions) if head is not None else nullcontext():
        logits = forward(batch.inputs)
    if logits.shape[:2] == (1, len(batch.rows)):
        return logits[0]
    # a model that uses its head without calling it as a module has computed all positions
    return logits[batch.rows.to(logits.device), batch.positions.to(logits.device)]


@contextmanager
def head_at(head: nn.Module, rows: torch.Tensor, positions: torch.Tensor) -> Iterator[None]:
    """Make a model's output head work on some positions only, as one sequence.

    Scaling and soft-capping of logits happen after the head, element by element, and stay right.

    Args:
        head: The model's output embeddings; its input has shape (batch, seq, hidden).
        rows: Row of every position, shape (scored,).
        positions: Index in the sequence of every position, shape (scored,).

    Yields:
        Nothing; within the context the model's logits have shape (1, scored, vocab).
    """

    def select(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden, *rest = inputs
        chosen = hidden[rows.to(hidden.device), positions.to(hidden.device)]
        return (chosen.unsqueeze(0), *rest)

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


class Batch:
    """Right-padded inputs of one forward pass, and where their continuations are scored.

    Attributes:
        inputs: Token ids, shape (batch, seq).
        rows: Row of every scored position, shape (scored,).
        positions: Index of every scored position, shape (scored,).
        lengths: Number of scored positions of each row.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[list[int], list[int]]],
        max_length: int,
        device: torch.device,
        filler: int = 0,
    ) -> None:
        """Lay out pairs of context and continuation tokens.

        Args:
            pairs: Non-empty contexts and continuations. What exceeds ``max_length`` is cut from
                the left, as lm-eval does.
            max_length: Longest input of the model, in tokens.
            device: Where the tensors go.
            filler: Token for padding.

        Raises:
            ModelError: A continuation alone is longer than ``max_length``.
        """
        longest = max(len(rest) for _, rest in pairs)
        if longest > max_length:
            raise ModelError(
                f"a continuation of {longest} tokens cannot be scored with "
                f"max_length={max_length}; raise max_length"
            )
        for context, rest in pairs:
            if (total := len(context) + len(rest)) > max_length + 1:
                logger.warning(
                    "Combined length of context (%d) and continuation (%d) exceeds "
                    "max_length (%d). Truncating %d tokens from the left.",
                    len(context),
                    len(rest),
                    max_length,
                    total - max_length - 1,
                )
        # the last token is never an input, and the token before the continuation predicts it
        sequences = [(context + rest)[-(max_length + 1) :][:-1] for context, rest in pairs]
        self.lengths = [len(rest) for _, rest in pairs]
        width = max(map(len, sequences))
        # padding on the right is never attended to, so that any id will do for the model itself
        padded = [sequence + [filler] * (width - len(sequence)) for sequence in sequences]
        self.inputs = torch.tensor(padded, dtype=torch.long, device=device)
        positions = [
            range(len(sequence) - scored, len(sequence))
            for sequence, scored in zip(sequences, self.lengths, strict=True)
        ]
        self.rows = torch.repeat_interleave(
            torch.arange(len(pairs)), torch.tensor(self.lengths)
        ).to(device)
        self.positions = torch.tensor(
            [position for row in positions for position in row], dtype=torch.long, device=device
        )

    def split(self, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Split scores of all scored positions, shape (scored, …), into rows."""
        return torch.split(scores, self.lengths)


def score(log_probs: torch.Tensor, continuation: Sequence[int]) -> tuple[float, bool]:
    """Score a continuation.

    Args:
        log_probs: Log-probabilities, shape (tokens, vocab).
        continuation: As many token ids, or fewer, which are then the last of them.

    Returns:
        Its log-likelihood (natural logarithm), and whether greedy decoding would produce it.
    """
    targets = torch.tensor(continuation, dtype=torch.long, device=log_probs.device)
    log_probs = log_probs[-len(targets) :]
    greedy = bool((log_probs.argmax(dim=-1) == targets).all())
    return float(log_probs.gather(1, targets.unsqueeze(1)).sum()), greedy


def plain_score(
    model: Any,
    context: Sequence[int],
    continuation: Sequence[int],
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> float:
    """Score a continuation by calling a model in the ordinary way, to check other ways against.

    Args:
        model: A causal language model, with PEFT around it if there is an adapter.
        context: Token ids, at least one.
        continuation: Token ids, at least one.
        device: Where the input goes.
        dtype: Type to compute log-probabilities in; None for that of the logits.

    Returns:
        Its log-likelihood (natural logarithm).
    """
    tokens = torch.tensor([[*context, *continuation][:-1]], dtype=torch.long, device=device)
    with torch.no_grad():
        logits = model(input_ids=tokens).logits[0, -len(continuation) :]
    return score(log_softmax(logits, dtype), continuation)[0]


def log_softmax(logits: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """Return log-probabilities over the last dimension, in ``dtype`` if given."""
    result: torch.Tensor = torch.log_softmax(logits, dim=-1, dtype=dtype)
    return result
