"""Attention that reads keys and values where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SWITCH = "TRANSFORMERS_SDPA_FORCE_GQA"  # transformers' own, read at every call


@contextmanager
def grouped_attention(device: torch.device) -> Iterator[None]:
    """Do not copy keys and values for every head that shares them, where that gives the same.

    With a mask and more than one new token, transformers copies all keys and values of a layer once
    per query head, for the sake of CUDA's kernels. torch's kernel for CPU needs no copies, and its
    results are the same to the last bit; reading a few tokens under many boundaries took several
    times as long with them.
    """
    if device.type != "cpu" or _SWITCH in os.environ:
        yield
        return
    os.environ[_SWITCH] = "1"
    try:
        yield
    finally:
        del os.environ[_SWITCH]
