"""Log-likelihoods, with logits only where a token is scored.

lm-eval's ``hf`` computes logits and their softmax at every position of a prompt, although only
the continuation is scored. Here the output head sees only the scored positions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from .padding import padded

# lm-eval's command line shows only the loggers below "lm_eval"
logger = logging.getLogger("lm_eval.lora_boundary")

# Scores in fp32 differ by the rounding of sums; those in half precision differ far more.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
_LOOSE_TOLERANCE = 0.05


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
    # a model that does not call its head as a module has computed all positions
    return logits[batch.rows.to(logits.device), batch.positions.to(logits.device)]


def head_at(
    head: nn.Module, rows: torch.Tensor, positions: torch.Tensor
) -> AbstractContextManager[Any]:
    """Return a context that applies a model's output head to some positions only.

    Within it, the model's logits have shape (1, scored, vocab). Scaling and soft-capping come
    after the head and work element by element, so they stay right.

    Rows and positions have shape (scored,).
    """

    def select(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden, *rest = inputs
        chosen = hidden[rows.to(hidden.device), positions.to(hidden.device)]
        return (chosen.unsqueeze(0), *rest)

    return head.register_forward_pre_hook(select)


class Batch:
    """Right-padded inputs of one forward pass, and the positions to score.

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
            pairs: Non-empty contexts and continuations. Longer ones than ``max_length`` are
                truncated from the left, as in lm-eval.
            max_length: Longest input of the model, in tokens.
            device: Where the tensors go.
            filler: Token for padding.

        Raises:
            ModelError: A continuation alone is longer than ``max_length``.
        """
        self.lengths = [len(continuation) for _, continuation in pairs]
        if (longest := max(self.lengths)) > max_length:
            raise ModelError(
                f"a continuation of {longest} tokens cannot be scored with "
                f"max_length={max_length}; raise max_length"
            )
        for context, continuation in pairs:
            if (total := len(context) + len(continuation)) > max_length + 1:
                logger.warning(
                    "Combined length of context (%d) and continuation (%d) exceeds "
                    "max_length (%d). Truncating %d tokens from the left.",
                    len(context),
                    len(continuation),
                    max_length,
                    total - max_length - 1,
                )
        # the last token is never an input; the token before the continuation predicts its first
        sequences = [(context + rest)[-(max_length + 1) :][:-1] for context, rest in pairs]
        self.inputs, _ = padded(sequences, "right", device, filler)
        rows = torch.arange(len(pairs)).repeat_interleave(torch.tensor(self.lengths))
        self.rows = rows.to(device)
        positions = [
            position
            for sequence, scored in zip(sequences, self.lengths, strict=True)
            for position in range(len(sequence) - scored, len(sequence))
        ]
        self.positions = torch.tensor(positions, dtype=torch.long, device=device)

    def split(self, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Split scores of all scored positions, shape (scored, …), into rows."""
        return torch.split(scores, self.lengths)


def score(log_probs: torch.Tensor, continuation: Sequence[int]) -> tuple[float, bool]:
    """Score a continuation.

    Args:
        log_probs: Log-probabilities, shape (tokens, vocab).
        continuation: Token ids. If there are fewer than ``tokens``, they are the last ones.

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
    """Score a continuation by an ordinary call of a model, as a reference for other ways.

    Args:
        model: A causal language model, with PEFT around it if there is an adapter.
        context: Token ids, at least one.
        continuation: Token ids, at least one.
        device: Where the input goes.
        dtype: Precision of the log-probabilities; None for that of the logits.
    """
    tokens = torch.tensor([[*context, *continuation][:-1]], dtype=torch.long, device=device)
    with torch.no_grad():
        logits = model(input_ids=tokens).logits[0, -len(continuation) :]
    return score(log_softmax(logits, dtype), continuation)[0]


def scores_agree(ours: float, reference: float, dtype: torch.dtype) -> bool:
    """Return whether a score equals a reference, up to the rounding of a model in ``dtype``."""
    tolerance = _TOLERANCE.get(dtype, _LOOSE_TOLERANCE)
    return abs(ours - reference) <= tolerance * max(1.0, abs(reference))


def log_softmax(logits: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """Return log-probabilities over the last dimension, in ``dtype`` if given."""
    result: torch.Tensor = torch.log_softmax(logits, dim=-1, dtype=dtype)
    return result
