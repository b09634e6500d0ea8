"""Where, and in which precision, a model is loaded: checked before anything is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..errors import ModelError

_DTYPES = ("dtype", "softmax_dtype", "mixed_precision_dtype")


def placed(arguments: Mapping[str, Any], default: str | None = None) -> dict[str, Any]:
    """Return arguments of lm-eval's ``hf`` with a device that is there.

    ``hf`` itself takes "cuda" if no device is given, with or without a GPU, and any device
    rather than one that it does not know.

    Args:
        arguments: The arguments.
        default: The device that stands for none where there is no GPU.

    Raises:
        ModelError: The device is not there, or torch has no such precision.
    """
    for name in _DTYPES:
        _check_dtype(name, arguments.get(name))
    device = arguments.get("device")
    if device == default and not torch.cuda.is_available():
        device = None
    return {**arguments, "device": usable_device(device)}


def usable_device(device: str | None) -> str:
    """Return a device: the one that is asked for, the best one if none is.

    Args:
        device: As torch calls it, or None.

    Raises:
        ModelError: It is not there.
    """
    if device is None:
        return (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    try:
        found = torch.device(str(device))
    except RuntimeError:
        raise ModelError(
            f"device={device} is unknown; expected cpu, cuda, cuda:N or mps, or leave it out"
        ) from None
    if found.type == "cpu":
        return "cpu"
    backend = torch.backends.mps if found.type == "mps" else getattr(torch, found.type, None)
    if backend is None or not hasattr(backend, "is_available") or not backend.is_available():
        raise ModelError(
            f"device={device}, but torch finds no such device here; leave out --device"
        )
    count = 1 if found.type == "mps" else backend.device_count()
    if found.index is not None and found.index >= count:
        raise ModelError(f"device={device}, but torch finds only {count} here")
    return str(device)


def _check_dtype(name: str, dtype: Any) -> None:
    if not isinstance(dtype, str) or (name == "dtype" and dtype == "auto"):
        return
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        auto = "auto, " if name == "dtype" else ""
        raise ModelError(f"{name}={dtype} is unknown; expected {auto}float32, bfloat16 or float16")
