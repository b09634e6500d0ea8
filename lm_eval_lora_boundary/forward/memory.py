"""How many rows of a batch fit into memory."""

from __future__ import annotations

from typing import Any

import psutil
import torch

# On a CPU, more than about 100 rows do not make matrix products faster. But the longest responses
# of a batch are decoded in few rows, which is slow. In a larger batch, more documents share that.
_MOST = 512
_SHARE = 0.5  # of the free memory; the rest is for activations, copies of rows, and everything else
_UNKNOWN = 64  # rows on devices whose memory is not known


def row_bytes(config: Any, dtype: torch.dtype, length: int) -> int:
    """Return the memory that the keys and values of a row of ``length`` tokens take."""
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * size * dtype.itemsize * length)


def free_bytes(device: torch.device, processes: int) -> int | None:
    """Return the free memory of a device, or None if it is not known.

    The processes share the memory of a CPU.
    """
    if device.type == "cuda":
        # torch keeps what it has freed, and uses it again
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    if device.type != "cpu":
        return None
    return int(psutil.virtual_memory().available) // processes


def rows_that_fit(
    config: Any, dtype: torch.dtype, length: int, device: torch.device, processes: int = 1
) -> int:
    """Return how many rows of ``length`` tokens fit in a batch.

    The processes share the memory of a CPU.
    """
    free = free_bytes(device, processes)
    if free is None:
        return _UNKNOWN
    return max(1, min(_MOST, int(free * _SHARE) // row_bytes(config, dtype, length)))
