"""What decides the answers of a sweep besides request and boundary."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from torch import nn

from ..checksums import checksum


def fingerprint(model: nn.Module) -> str:
    """Return a hash of a model's weights, quick enough for large models on any device.

    Of every tensor, name, shape, type and checksum go in. That tells apart what anyone trains,
    rounds or exchanges; it is no protection against forgery.

    Args:
        model: A model. Offloaded tensors count with their shape alone.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sums = [] if tensor.is_meta else checksum(tensor)
        line = [name, list(tensor.shape), str(tensor.dtype), sums]
        digest.update(json.dumps(line).encode())
    return digest.hexdigest()


def identity(facts: dict[str, Any]) -> str:
    """Return facts about a run as canonical text, to be part of the key of every answer."""
    return json.dumps(facts, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """Return what JSON has no form for; sets in an order that is the same in every process."""
    return sorted(value, key=str) if isinstance(value, (set, frozenset)) else str(value)
