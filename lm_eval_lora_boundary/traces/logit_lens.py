"""The model's own logits from the output of any of its layers.

A forward pass captures the output of every decoder layer, at the scored positions only. To read a
layer out, the same model runs once more, and every layer just returns the captured states. What
remains is what the model does after its last layer (final norm, projection, head, logit scale,
soft-cap). So nothing here depends on where an architecture keeps its norm or its head.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from ..cuts.layers import DecoderStack
from ..forward.loglikelihood import Batch, scored_logits
from ..forward.split_model import logits_in_pieces
from .replaced import replaced_forwards


class LayerReadout:
    """Reads logits out of the layers of a causal language model."""

    def __init__(self, model: Any, stack: DecoderStack, whole: Any | None = None) -> None:
        """Prepare; this changes nothing.

        Args:
            model: The model, without PEFT's wrapper (adapted layers inside are fine).
            stack: Its decoder layers.
            whole: What to call to run it, such as PEFT's wrapper; None for the model itself.
        """
        self._model = model
        self._whole = model if whole is None else whole
        self._layers: list[nn.Module] = list(model.get_submodule(stack.path))[: stack.count]
        self._rest: list[tuple[Any, ...] | None] = [None] * stack.count

    def states(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the model once.

        Args:
            batch: The inputs, padded on the right, where causal attention never looks.

        Returns:
            The output of every layer at the scored positions, ``(layers, scored, hidden)``, and
            the model's own logits at each row's last scored position, ``(batch, vocab)``.
        """
        captured: list[torch.Tensor] = [torch.empty(0)] * len(self._layers)

        def capture(layer: int) -> Callable[..., None]:
            def hook(_: nn.Module, __: Any, output: Any) -> None:
                # In some architectures, layers return more than the states.
                self._rest[layer] = output[1:] if isinstance(output, tuple) else None
                states = output[0] if isinstance(output, tuple) else output
                rows, positions = batch.rows.to(states.device), batch.positions.to(states.device)
                captured[layer] = states[rows, positions]

            return hook

        handles = [layer.register_forward_hook(capture(i)) for i, layer in enumerate(self._layers)]
        last = copy.copy(batch)
        ends = last_of_rows(batch)
        last.rows, last.positions = batch.rows[ends], batch.positions[ends]
        try:
            forward = partial(_logits, self._whole)
            logits = scored_logits(forward, self._model.get_output_embeddings(), last)
        finally:
            for handle in handles:
                handle.remove()
        device = captured[-1].device
        return torch.stack([states.to(device) for states in captured]), logits

    def logits(self, states: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Apply what follows the last layer; see :func:`.logits_in_pieces`.

        Args:
            states: Outputs of layers, ``(states, hidden)``.

        Yields:
            The slice of the states, and their logits, ``(piece, vocab)``.
        """
        config = self._model.config.get_text_config(decoder=True)
        with self._only_the_end() as end:
            yield from logits_in_pieces(end, states, config.vocab_size)

    @contextmanager
    def _only_the_end(self) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
        """Make every layer return given states, as sequences of one token each."""
        given = torch.empty(0)

        def stand_in(rest: tuple[Any, ...] | None) -> Callable[..., Any]:
            return lambda *_, **__: given if rest is None else (given, *rest)

        def logits(states: torch.Tensor) -> torch.Tensor:
            nonlocal given
            given = states.unsqueeze(1)  # (piece, 1, hidden)
            # Any token will do: the first layer discards its embedding.
            embedding = self._model.get_input_embeddings()
            device = next(embedding.parameters()).device
            tokens = torch.zeros((len(states), 1), dtype=torch.long, device=device)
            return _logits(self._model, tokens)[:, 0]

        with replaced_forwards(self._layers, [stand_in(rest) for rest in self._rest]):
            yield logits


def last_of_rows(batch: Batch) -> torch.Tensor:
    """Return the index of each row's last scored position, ``(batch,)``."""
    return torch.tensor(batch.lengths, device=batch.rows.device).cumsum(0) - 1


def _logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return the logits of tokens ``(batch, seq)`` as ``hf`` computes them, without a cache."""
    logits: torch.Tensor = model(input_ids=tokens, use_cache=False).logits
    return logits


def targets(continuations: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """Return the gold token of every scored position, ``(scored,)``."""
    flat = [token for continuation in continuations for token in continuation]
    return torch.tensor(flat, dtype=torch.long, device=device)
