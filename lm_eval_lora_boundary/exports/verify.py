"""Compare what written files compute with what the cut computes in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..errors import OutputError

_ROWS, _LENGTH = 3, 16


def prompts(model: Any, tokens: Iterable[int] = ()) -> torch.Tensor:
    """Return made-up prompts ``(batch, seq)`` that include ``tokens``, on the CPU."""
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
    """Return logits ``(batch, seq, vocab)`` of tokens ``(batch, seq)``, on the CPU."""
    device = model.get_input_embeddings().weight.device
    with torch.no_grad():
        computed: torch.Tensor = model(input_ids=tokens.to(device), use_cache=False).logits
    return computed.cpu()


def check_equal(computed: torch.Tensor, expected: torch.Tensor, what: str) -> float:
    """Check that logits are the same to the last bit; return their largest difference, 0.0.

    ``what`` names what was written, for the message.

    Raises:
        OutputError: They are not.
    """
    if computed.shape != expected.shape:
        how = f"have shape {tuple(computed.shape)} instead of {tuple(expected.shape)}"
    else:
        largest = float((computed.double() - expected.double()).abs().max())
        if torch.equal(computed, expected):
            return largest
        how = f"differ by up to {largest:.3g}"
    raise OutputError(
        f"nothing was written: after reloading, the logits of {what} {how} from those of the cut "
        "in memory"
    )
