"""How many rows a batch can have."""

from __future__ import annotations

from typing import Any

import psutil
import torch

from ..harness import processes

# More rows do not make matrix products faster (on CPU from about 100 on), but the longest responses
# of a batch are decoded in few rows, and therefore dearly: more documents share that.
_MOST = 512
_SHARE = 0.5  # of the free memory; the rest is for activations, copies of rows, and others
_UNKNOWN = 64  # rows where nothing is known about memory


def row_bytes(config: Any, dtype: torch.dtype, length: int) -> int:
    """Return the memory that keys and values of one row take.

    Args:
        config: The model's config.
        dtype: Precision of the model.
        length: Tokens of the row.
    """
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * size * dtype.itemsize * length)


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a device, or None if nobody can tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    return int(psutil.virtual_memory().available) // processes.count()  # which share it


def rows_that_fit(config: Any, dtype: torch.dtype, length: int, device: torch.device) -> int:
    """Return a number of rows per batch for rows of up to ``length`` tokens."""
    free = free_bytes(device)
    if free is None:
        return _UNKNOWN
    return max(1, min(_MOST, int(free * _SHARE) // row_bytes(config, dtype, length)))
