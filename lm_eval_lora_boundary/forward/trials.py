"""What a decoder does with padding and with the number of texts, found out by running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .kv_cache import growing_cache, refuse_states_elsewhere
from .split_model import SplitModel

# Rounding of a few tokens; a token at another position changes far more.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
_LOOSE_TOLERANCE = 0.05
# what decoders raise that cannot do something
_FAILURES = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


@torch.no_grad()
def skips_padding(model: SplitModel, device: torch.device) -> bool:
    """Return whether padding between the tokens of a text changes nothing.

    It does where a decoder counts columns, or where padding goes through a convolution.
    """
    tokens = torch.tensor([[1, 2, 3, 4]], device=device)
    plain = model.hidden(tokens, torch.ones_like(tokens))
    spread = torch.tensor([[1, 2, 0, 0, 3, 4]], device=device)
    mask = torch.tensor([[1, 1, 0, 0, 1, 1]], device=device)
    other = model.hidden(spread, mask)[:, mask[0].bool()]
    return _alike(plain, other)


@torch.no_grad()
def goes_on(model: SplitModel, device: torch.device) -> bool:
    """Return whether several tokens can be read after what is in the cache.

    Mamba's layers in some models forget their state then; they go on by single tokens only.
    """
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]], device=device)
    mask, cache = torch.ones_like(tokens), growing_cache(model.decoder.config)
    whole = model.hidden(tokens, mask)
    first = model.hidden(tokens[:, :3], mask[:, :3], cache)
    rest = model.hidden(tokens[:, 3:], mask, cache)
    return _alike(whole, torch.cat([first, rest], dim=1))


def _alike(states: torch.Tensor, others: torch.Tensor) -> bool:
    tolerance = _TOLERANCE.get(states.dtype, _LOOSE_TOLERANCE)
    return bool((states - others).norm() <= tolerance * states.norm())


@torch.no_grad()
def refuse_hidden_states(model: SplitModel, device: torch.device) -> None:
    """Refuse a decoder whose states are not in its cache.

    Raises:
        ModelError: It keeps them elsewhere.
    """
    cache = growing_cache(model.decoder.config)
    tokens = torch.tensor([[1, 2, 3]], device=device)
    model.hidden(tokens, torch.ones_like(tokens), cache)
    refuse_states_elsewhere(cache)


@torch.no_grad()
def items_per_text(model: SplitModel, layer: nn.Module, device: torch.device) -> dict[str, int]:
    """Return how many items of the first dimension of a layer's arguments belong to each text.

    Biases of attention may have one for each text and head, or none. By name; 0 for tensors that
    do not depend on the number of texts.
    """
    sizes: list[dict[str, int]] = []

    def note(_: nn.Module, __: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensors = {k: v for k, v in kwargs.items() if isinstance(v, torch.Tensor) and v.ndim}
        sizes.append({name: len(tensor) for name, tensor in tensors.items()})

    with layer.register_forward_pre_hook(note, with_kwargs=True):
        for texts in (2, 3):
            tokens = torch.ones((texts, 3), dtype=torch.long, device=device)
            mask = torch.ones_like(tokens)
            mask[0, 0] = 0  # so that there is a mask
            model.hidden(tokens, mask)
    two, three = sizes
    return {
        name: two[name] // 2 if two[name] % 2 == 0 and two[name] * 3 == three[name] * 2 else 0
        for name in two.keys() & three.keys()
    }


@torch.no_grad()
def missing_ability(model: SplitModel, last: nn.Module, device: torch.device) -> str:
    """Return what a decoder cannot do of what a shared pass needs, or "".

    To be asked once a shared pass has failed: the errors of decoders do not say it.

    Args:
        model: The model.
        last: Its last layer.
        device: Where its inputs belong.
    """

    def uses_cache() -> None:
        tokens = torch.tensor([[1, 2, 3]], device=device)
        model.hidden(tokens, torch.ones_like(tokens), growing_cache(model.decoder.config))

    def adds_rows() -> None:
        tokens = torch.tensor([[1, 2, 3], [4, 5, 6]], device=device)
        with last.register_forward_hook(_doubled):
            found = model.hidden(tokens, torch.ones_like(tokens))
        if len(found) != 2 * len(tokens):
            raise ValueError(f"{len(found)} rows")

    abilities: list[tuple[Callable[[], object], str]] = [
        (uses_cache, "its decoder works only with a cache that it makes itself"),
        (
            lambda: goes_on(model, device),
            "its decoder cannot read several tokens after what is in its cache",
        ),
        (adds_rows, "its decoder returns a row for each text, so no layer can add rows for cuts"),
    ]
    for ability, without in abilities:
        try:
            ability()
        except _FAILURES:
            return without
    return ""


def _doubled(_: nn.Module, __: Any, output: Any) -> Any:
    """Return the output of a layer with each row twice."""
    if isinstance(output, tuple):
        return (output[0].repeat_interleave(2, dim=0), *output[1:])
    return output.repeat_interleave(2, dim=0)
