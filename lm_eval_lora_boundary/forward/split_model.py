"""A causal language model in two parts: decoder and output head.

A sweep needs logits at few positions but many rows, the trace needs them at every layer. Both run
the decoder once and then apply the head, with whatever scaling or soft-capping the model does
after it, to just the states they need, piece by piece.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from ..errors import ModelError

_LOGITS_AT_ONCE = 1 << 24  # elements: 64 MB in fp32
# what a decoder calls its cache: transformers 5.24 and newer, and older releases; models that come
# with their own code may keep the old name
_CACHE_NAMES = ("cache", "past_key_values")


class SplitModel:
    """Runs a transformers causal language model part by part."""

    def __init__(self, model: Any) -> None:
        """Find the parts; changes nothing.

        Args:
            model: The model, without PEFT around it (adapted layers inside are fine).

        Raises:
            ModelError: The model does not name its decoder, or it takes no positions or no cache.
        """
        decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
        names = [name for name, module in model.named_modules() if name and module is decoder]
        if decoder is None or not names:
            raise ModelError(f"{type(model).__name__} does not name its decoder")
        self._model: Any = model
        self.decoder: Any = decoder
        self._path = names[0]
        accepted = inspect.signature(decoder.forward).parameters
        if "position_ids" not in accepted:
            # it counts columns, padding included: texts could not be put together from pieces
            raise ModelError(f"the decoder of {type(model).__name__} takes no position_ids")
        cache_name = next((name for name in _CACHE_NAMES if name in accepted), None)
        if cache_name is None:
            raise ModelError(
                f"the decoder of {type(model).__name__} takes no cache (none of its arguments is "
                f"{' or '.join(_CACHE_NAMES)})"
            )
        self._cache_name = cache_name

    def hidden(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: Any | None = None
    ) -> torch.Tensor:
        """Run the decoder.

        Args:
            tokens: Token ids, shape (batch, seq).
            mask: 1 for every token to attend to, what is in the cache included, shape
                (batch, past + seq).
            cache: A transformers cache, which is extended; None for no past.

        Returns:
            The states that the head sees, after the final norm, shape (rows, seq, hidden).
        """
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        inputs: dict[str, Any] = {"attention_mask": mask, "position_ids": positions}
        if cache is not None:
            inputs[self._cache_name] = cache
        output = self.decoder(input_ids=tokens, use_cache=cache is not None, **inputs)
        states: torch.Tensor = output.last_hidden_state
        return states

    def pieces(self, states: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Apply the head piece by piece, so that little of (states, vocab) exists at once.

        Args:
            states: What the head sees, shape (states, hidden).

        Yields:
            Which states, and their logits, shape (piece, vocab).
        """
        head = self._model.get_output_embeddings()
        vocabulary = getattr(head, "out_features", None) or head.weight.shape[0]
        size = max(1, _LOGITS_AT_ONCE // vocabulary)
        with self._head_only() as head_only:
            for start in range(0, len(states), size):
                piece = slice(start, min(start + size, len(states)))
                yield piece, head_only(states[piece])

    def greedy(self, states: torch.Tensor) -> torch.Tensor:
        """Return the most likely token after each state.

        Args:
            states: What the head sees, shape (states, hidden).

        Returns:
            Token ids, shape (states,).
        """
        tokens = torch.empty(len(states), dtype=torch.long, device=states.device)
        for piece, logits in self.pieces(states):
            tokens[piece] = logits.argmax(dim=-1).to(tokens.device)
        return tokens

    @contextmanager
    def _head_only(self) -> Iterator[Any]:
        """Put a stand-in that returns given states in the decoder's place."""
        parent = self._model.get_submodule(self._path.rpartition(".")[0])
        name = self._path.rpartition(".")[2]
        stand_in = _StandIn()

        def logits(states: torch.Tensor) -> torch.Tensor:
            stand_in.states = states.unsqueeze(0)
            ids = torch.zeros((1, len(states)), dtype=torch.long, device=states.device)
            result: torch.Tensor = self._model(input_ids=ids, use_cache=False).logits
            return result[0]

        setattr(parent, name, stand_in)
        try:
            yield logits
        finally:
            setattr(parent, name, self.decoder)


class _StandIn(nn.Module):
    """Returns ``states`` whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.states = torch.empty(0)

    def forward(self, *_: Any, **__: Any) -> BaseModelOutputWithPast:
        return _Output(last_hidden_state=self.states)


class _Output(BaseModelOutputWithPast):
    """What every decoder returns; whatever else some return (router logits, …) is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
