"""Checksums of tensors, quick enough for every weight of a large model on any device."""

from __future__ import annotations

import torch

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.int64}
_AT_ONCE = 1 << 22  # words


def checksum(tensor: torch.Tensor) -> list[int]:
    """Return two sums over all bits of a tensor; shape and type do not go in.

    Both are exact integers modulo 2^64: the sum of the tensor's words, and their sum weighted by
    position. No change of a single word leaves the first as it is, and no exchange of two words
    the second, unless they are 2^32 words apart or more. Whatever else training, rounding or
    initialising does would have to hit both by chance. It is no protection against forgery.

    Args:
        tensor: A tensor with values. One that is made of others, as quantised weights are, counts
            with all of them.
    """
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return [total for name in names for total in checksum(getattr(tensor, name))]
    words = _words(tensor)
    positions = torch.arange(1, min(len(words), _AT_ONCE) + 1, device=words.device)
    plain, weighted = 0, 0
    for start in range(0, len(words), _AT_ONCE):
        part = words[start : start + _AT_ONCE].to(torch.int64)
        total = int(part.sum())
        # int64 wraps around, the same way everywhere
        weighted += int((part * positions[: len(part)]).sum()) + start * total
        plain += total
    return [plain % (1 << 64), weighted % (1 << 64)]


def _words(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bits of a tensor as integers, of 8 bytes if they fill them."""
    bits = tensor.detach().contiguous().flatten()
    size = bits.element_size()
    if bits.numel() * size % 8:
        return bits.view(_WORDS[size])
    if bits.storage_offset() * size % 8:
        bits = bits.clone()
    return bits.view(torch.int64)
