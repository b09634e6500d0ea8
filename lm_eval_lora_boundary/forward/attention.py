"""Which kernels compute attention in a shared forward."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SWITCH = "TRANSFORMERS_SDPA_FORCE_GQA"  # transformers' own, read at every call


@contextmanager
def attention_kernels(device: torch.device) -> Iterator[None]:
    """Choose the kernels that suit batches of many shapes, and leave eager attention alone.

    The choice holds for the whole process until the block ends.
    """
    with _grouped() if device.type == "cpu" else _without_cudnn():
        yield


@contextmanager
def _grouped() -> Iterator[None]:
    """On a CPU, do not copy keys and values for every query head that shares them.

    With a mask and more than one new token, transformers makes these copies for CUDA kernels.
    torch's CPU kernel does not need them, and its results are the same bit by bit. With the
    copies, reading a few tokens under many cuts took several times as long.
    """
    if _SWITCH in os.environ:
        yield
        return
    os.environ[_SWITCH] = "1"
    try:
        yield
    finally:
        del os.environ[_SWITCH]


@contextmanager
def _without_cudnn() -> Iterator[None]:
    """Do without cuDNN's attention, which builds a plan for every new shape.

    In a shared forward, every layer has a number of rows of its own, and every new token makes the
    keys longer. With torch 2.11 on an H200, a token took 1.4 s with an 8B model, and now 0.05 s.
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
