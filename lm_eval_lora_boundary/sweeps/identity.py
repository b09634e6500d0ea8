"""What decides the answers of a sweep besides request and boundary."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn


def fingerprint(model: nn.Module) -> str:
    """Return a hash of a model's weights, quick enough for large models on any device.

    Of every tensor, name, shape, type and two sums over its bits go in, one of them weighted by
    position, both exact integers. That tells apart what anyone trains, rounds or exchanges; it is
    no protection against forgery.

    Args:
        model: A model. Offloaded tensors count with their shape alone.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sums = [] if tensor.is_meta else _sums(tensor)
        line = [name, list(tensor.shape), str(tensor.dtype), sums]
        digest.update(json.dumps(line).encode())
    return digest.hexdigest()


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_AT_ONCE = 1 << 22


def _sums(tensor: torch.Tensor) -> list[int]:
    bits = tensor.detach().contiguous().flatten()
    bits = bits.view(_INTEGERS[bits.element_size()])
    weights = torch.arange(1, min(len(bits), _AT_ONCE) + 1, device=bits.device)
    plain, weighted = 0, 0
    for start in range(0, len(bits), _AT_ONCE):
        part = bits[start : start + _AT_ONCE].to(torch.int64)
        plain += int(part.sum())
        # int64 wraps around, the same way everywhere
        weighted += int((part * weights[: len(part)]).sum()) * (start // _AT_ONCE + 1)
    return [plain, weighted % (1 << 64)]


def identity(facts: dict[str, Any]) -> str:
    """Return facts about a run as canonical text, to be part of the key of every answer."""
    return json.dumps(facts, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """Return what JSON has no form for; sets in an order that is the same in every process."""
    return sorted(value, key=str) if isinstance(value, (set, frozenset)) else str(value)
