"""What a cut computes in memory, and whether the files that were written compute the same."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any

import torch

from ..errors import OutputError

_ROWS, _LENGTH = 3, 16


def prompts(model: Any, tokens: Iterable[int] = ()) -> torch.Tensor:
    """Return made-up prompts that any model of a vocabulary takes.

    Args:
        model: The model, for the size of its vocabulary.
        tokens: Tokens to have among them, as those that the adapter trained or is activated by.

    Returns:
        Token ids on the CPU, ``(rows, tokens)``.
    """
    rows = min(
        module.weight.shape[0]
        for module in (model.get_input_embeddings(), model.get_output_embeddings())
        if module is not None
    )
    generator = torch.Generator().manual_seed(0)
    made_up = torch.randint(rows, (_ROWS, _LENGTH), generator=generator)
    chosen = torch.tensor([token for token in tokens if token < rows][:_LENGTH], dtype=torch.long)
    made_up[0, : len(chosen)] = chosen
    return made_up


def logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return a model's logits on the CPU.

    Args:
        model: A causal language model.
        tokens: Token ids, ``(batch, seq)``.

    Returns:
        Logits, ``(batch, seq, vocab)``.
    """
    device = model.get_input_embeddings().weight.device
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=tokens.to(device), use_cache=False).logits
    return found.cpu()


def check_equal(found: torch.Tensor, expected: torch.Tensor, what: str) -> float:
    """Check that logits are the same to the last bit.

    Args:
        found: Logits of what was written, ``(batch, seq, vocab)``.
        expected: Logits of the cut in memory.
        what: What was written, and what to do if it cannot be used.

    Returns:
        The largest difference, 0.0.

    Raises:
        OutputError: They are not.
    """
    if torch.equal(found, expected):
        return float((found.double() - expected.double()).abs().max())
    if found.shape != expected.shape:
        how = f"have shape {tuple(found.shape)} instead of {tuple(expected.shape)}"
    else:
        how = f"differ by up to {float((found.double() - expected.double()).abs().max()):.3g}"
    raise OutputError(
        f"nothing was written: re-loaded, the logits of {what} {how} from those of the cut in "
        "memory"
    )


def free() -> None:
    """Give back the memory of models that nobody uses any more."""
    gc.collect()  # a cut model and its cut know each other
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
