"""Recognise that memory has run out, whichever library says so."""

from __future__ import annotations

import torch
from accelerate.utils.memory import should_reduce_batch_size

# what torch says where it raises no OutOfMemoryError, besides what accelerate knows
_SIGNS = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "not enough memory: you tried")


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of a device or the machine does not suffice."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if not isinstance(error, RuntimeError):
        return False
    return should_reduce_batch_size(error) or any(sign in str(error) for sign in _SIGNS)
