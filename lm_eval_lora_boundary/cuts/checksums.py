"""Checksums of tensors, fast enough for all weights of a large model on any device."""

from __future__ import annotations

import torch

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}  # by size in bytes
_WORDS_AT_ONCE = 1 << 22


def checksum(tensor: torch.Tensor) -> list[int]:
    """Return two sums over all bits of a tensor, or of the tensors that it wraps.

    They are exact integers modulo 2^64: the sum of the tensor's words, and their sum weighted by
    position. Changing one word changes the first. Swapping two words changes the second, unless
    they are 2^32 words apart or more. Other changes keep both only by chance. This does not
    protect against forgery.
    """
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return [total for name in names for total in checksum(getattr(tensor, name))]
    words = _words(tensor)
    positions = torch.arange(1, min(len(words), _WORDS_AT_ONCE) + 1, device=words.device)
    plain, weighted, start = 0, 0, 0
    for part in torch.split(words, _WORDS_AT_ONCE):
        part = part.to(torch.int64)
        total = int(part.sum())
        # int64 wraps around in the same way on every device
        weighted += int((part * positions[: len(part)]).sum()) + start * total
        plain += total
        start += len(part)
    return [plain % (1 << 64), weighted % (1 << 64)]


def _words(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bits of a tensor as integers, of 8 bytes if they fill whole ones."""
    bits = tensor.detach().contiguous().flatten()
    size = bits.element_size()
    if bits.numel() * size % 8:
        return bits.view(_INTEGERS[size])
    if bits.storage_offset() * size % 8:
        bits = bits.clone()
    return bits.view(torch.int64)
