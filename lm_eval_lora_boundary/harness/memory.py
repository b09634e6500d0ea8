"""Recognise that memory has run out, whichever library says so."""

from __future__ import annotations

import torch
from accelerate.utils.memory import should_reduce_batch_size

# What torch and libraries on a GPU (cuBLAS, cuDNN, Triton, bitsandbytes) say where they raise no
# OutOfMemoryError, besides what accelerate knows; in lower case.
_SIGNS = (
    *("out of memory", "not enough memory: you tried", "cudaerrormemoryallocation"),
    *("cublas_status_alloc_failed", "cudnn_status_alloc_failed"),
)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of a device or the machine does not suffice."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    if not isinstance(error, RuntimeError):
        return False
    return should_reduce_batch_size(error) or any(sign in str(error).lower() for sign in _SIGNS)
