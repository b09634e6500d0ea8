"""Token lists as rows of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def padded(
    rows: Sequence[Sequence[int]], side: str, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of token ids as one tensor.

    Args:
        rows: Token ids.
        side: Where to fill up, ``"left"`` or ``"right"``.
        device: Where to put the tensors.

    Returns:
        Token ids and mask (0 for padding), both of shape (rows, longest row). What stands under
        the mask's zeros is never attended to.
    """
    width = max(map(len, rows))
    tokens, mask = [], []
    for row in rows:
        filling = [0] * (width - len(row))
        real = [1] * len(row)
        left = side == "left"
        tokens.append([*filling, *row] if left else [*row, *filling])
        mask.append([*filling, *real] if left else [*real, *filling])
    integers: dict[str, Any] = {"dtype": torch.long, "device": device}
    return torch.tensor(tokens, **integers), torch.tensor(mask, **integers)
