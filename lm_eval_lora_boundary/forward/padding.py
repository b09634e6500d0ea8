"""Token lists as rows of a tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .transfers import to_device


def padded(
    rows: Sequence[Sequence[int]], side: str, device: torch.device | None = None, filler: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of token ids as one tensor.

    Args:
        rows: Token ids.
        side: Where to pad, ``"left"`` or ``"right"``.
        device: Where the tensors go; None for the host.
        filler: Token for padding.

    Returns:
        Token ids and mask (0 for padding), both of shape (rows, longest row).
    """
    width = max(map(len, rows))
    tokens = torch.full((len(rows), width), filler, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, ids in enumerate(rows):
        place = slice(width - len(ids), None) if side == "left" else slice(len(ids))
        tokens[row, place] = torch.tensor(ids, dtype=torch.long)
        mask[row, place] = 1
    if device is None:
        return tokens, mask
    return to_device(tokens, device), to_device(mask, device)
