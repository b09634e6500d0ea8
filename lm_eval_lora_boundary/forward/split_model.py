"""A causal language model in two parts: decoder and output head.

A sweep needs logits at few positions of many rows. It runs the decoder once, and then applies the
head, with any scaling or soft-capping after it, to the states it needs, piece by piece.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..upstream.transformers import CACHE_NAMES, BaseModelOutputWithPast, cache_name

# elements: 64 MB in fp32. A GPU reads the whole head for every piece, so it gets larger ones.
_LOGITS_AT_ONCE = {"cpu": 1 << 24, "cuda": 1 << 26}


class SplitModel:
    """Runs a transformers causal language model part by part.

    Attributes:
        decoder: The decoder.
        takes_positions: Whether it is told the position of every token, and need not count columns.
    """

    def __init__(self, model: Any) -> None:
        """Find the parts, and change nothing.

        Args:
            model: The model, not wrapped in PEFT (its layers may be adapted).

        Raises:
            ModelError: The model does not name its decoder, or the decoder takes no mask or no
                cache.
        """
        decoder = _decoder(model)
        paths = [path for path, module in model.named_modules() if path and module is decoder]
        if decoder is None or not paths:
            raise ModelError(f"{type(model).__name__} does not name its decoder")
        self._model: Any = model
        self.decoder: Any = decoder
        parent, _, self._name = paths[0].rpartition(".")
        self._parent: Any = model.get_submodule(parent)
        accepted = inspect.signature(decoder.forward).parameters
        if "attention_mask" not in accepted:
            raise ModelError(
                f"the decoder of {type(model).__name__} takes no attention_mask, so texts of "
                "different lengths cannot be read together"
            )
        self.takes_positions = "position_ids" in accepted
        name = cache_name(accepted)
        if name is None:
            raise ModelError(
                f"the decoder of {type(model).__name__} takes no cache; expected one named "
                f"{' or '.join(CACHE_NAMES)}"
            )
        self._cache_name = name

    def hidden(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor,
        cache: Any | None = None,
        *,
        padded: bool = True,
    ) -> torch.Tensor:
        """Run the decoder.

        Args:
            tokens: Token ids, shape (batch, seq).
            mask: Attention mask of cache and tokens, shape (batch, past + seq).
            cache: A cache of :func:`.growing_cache`, which is extended; None for no past.
            padded: Whether the mask has any 0, as far as the caller knows.

        Returns:
            The input of the head, after the final norm, shape (rows, seq, hidden).
        """
        inputs: dict[str, Any] = {"attention_mask": mask}
        if self.takes_positions:
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            inputs["position_ids"] = positions[:, -tokens.shape[1] :]
        if cache is not None:
            inputs[self._cache_name] = cache
            cache.is_compileable = padded  # see GrowingCache
            # transformers would leave out this mask itself, after a look into it on the device
            if not padded and tokens.shape[1] in (1, mask.shape[1]):
                inputs["attention_mask"] = None
        output = self.decoder(input_ids=tokens, use_cache=cache is not None, **inputs)
        states: torch.Tensor = output.last_hidden_state
        return states

    def pieces(self, states: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Apply the head to its input (states, hidden); see :func:`logits_in_pieces`."""
        head = self._model.get_output_embeddings()
        vocabulary = getattr(head, "out_features", None) or head.weight.shape[0]
        with self._head_only() as head_only:
            yield from logits_in_pieces(head_only, states, vocabulary)

    def greedy(self, states: torch.Tensor) -> torch.Tensor:
        """Return the most likely tokens (states,) for inputs of the head (states, hidden).

        It is -1 where a logit is NaN or +inf, or all are -inf: each of these is the largest for
        torch. A single -inf is how some models rule a token out.
        """
        tokens = torch.empty(len(states), dtype=torch.long, device=states.device)
        for piece, logits in self.pieces(states):
            best = logits.argmax(dim=-1, keepdim=True)
            finite = logits.gather(1, best).isfinite()
            tokens[piece] = best.where(finite, -1).squeeze(1).to(tokens.device)
        return tokens

    @contextmanager
    def _head_only(self) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
        """Replace the decoder by a module that returns given states."""
        stand_in = _StandIn(self.decoder)

        def logits(states: torch.Tensor) -> torch.Tensor:
            stand_in.states = states.unsqueeze(0)
            ids = torch.zeros((1, len(states)), dtype=torch.long, device=states.device)
            result: torch.Tensor = self._model(input_ids=ids, use_cache=False).logits
            return result[0]

        setattr(self._parent, self._name, stand_in)
        try:
            yield logits
        finally:
            setattr(self._parent, self._name, self.decoder)


def _decoder(model: Any) -> nn.Module | None:
    """Return the decoder of a model, without its head."""
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    # Llama 4 calls the whole text model its decoder
    while decoder is not None and _within(head, decoder):
        inside = (child for child in decoder.children() if _within(embedding, child))
        decoder = next(inside, None)
    return decoder


def _within(part: nn.Module | None, whole: nn.Module) -> bool:
    return part is not None and any(module is part for module in whole.modules())


def logits_in_pieces(
    head: Callable[[torch.Tensor], torch.Tensor], states: torch.Tensor, vocabulary: int
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Turn states into logits piece by piece, so that few logits exist at once.

    Args:
        head: Takes states (piece, hidden), returns logits (piece, vocab).
        states: All states, shape (states, hidden).
        vocabulary: Number of logits of a state.

    Yields:
        Which states, and their logits (piece, vocab).
    """
    most = _LOGITS_AT_ONCE.get(states.device.type, _LOGITS_AT_ONCE["cpu"])
    size = max(1, most // vocabulary)
    for start in range(0, len(states), size):
        piece = slice(start, min(start + size, len(states)))
        yield piece, head(states[piece])


class _StandIn(nn.Module):
    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.states = torch.empty(0)
        self._decoder = (decoder,)  # so that its modules are not this one's

    def __getattr__(self, name: str) -> Any:
        """Return what the model asks of its decoder, such as a factor of the logits."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._decoder[0], name)

    def forward(self, *_: Any, **__: Any) -> BaseModelOutputWithPast:
        return _Output(last_hidden_state=self.states)


class _Output(BaseModelOutputWithPast):
    """What every decoder returns. Extras of some decoders (router logits, …) are None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
