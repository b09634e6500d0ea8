"""The device and the precision of a model, checked before it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..errors import ModelError

_DTYPES = ("dtype", "softmax_dtype", "mixed_precision_dtype")


def with_device(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of lm-eval's ``hf`` with a device that is available.

    If no device is given, ``hf`` itself takes "cuda", with or without a GPU. If it does not know
    the given device, it takes another one.

    Raises:
        ModelError: The device is not available, or torch does not have this precision.
    """
    for name in _DTYPES:
        _check_dtype(name, arguments.get(name))
    return {**arguments, "device": usable_device(arguments.get("device"))}


def usable_device(device: str | None) -> str:
    """Return this torch device if it is available; for None, the best one.

    Raises:
        ModelError: It is not available.
    """
    if device is None:
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        parsed = torch.device(str(device))
    except RuntimeError:
        raise ModelError(
            f"device={device} is unknown; expected cpu, cuda, cuda:N or mps, or leave it out"
        ) from None
    if parsed.type == "cpu":
        return "cpu"
    backend = torch.backends.mps if parsed.type == "mps" else getattr(torch, parsed.type, None)
    if backend is None or not hasattr(backend, "is_available") or not backend.is_available():
        raise ModelError(
            f"device={device}, but torch finds no such device here; leave out --device"
        )
    count = 1 if parsed.type == "mps" else backend.device_count()
    if parsed.index is not None and parsed.index >= count:
        raise ModelError(f"device={device}, but torch finds only {count} here")
    return str(device)


def _check_dtype(name: str, dtype: Any) -> None:
    if not isinstance(dtype, str) or (name == "dtype" and dtype == "auto"):
        return
    known = getattr(torch, dtype, None)
    if not isinstance(known, torch.dtype) or not known.is_floating_point:
        auto = "auto, " if name == "dtype" else ""
        raise ModelError(f"{name}={dtype} is unknown; expected {auto}float32, bfloat16 or float16")
