"""Tensors on their way from the host to a device.

A copy from ordinary memory makes the host wait until a GPU has done all work before it. From pinned
memory, it is queued like the rest of the work.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on a device; the host does not wait for a GPU."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def moved(
    tensors: Sequence[torch.Tensor | None], devices: Sequence[torch.device]
) -> list[torch.Tensor | None]:
    """Return tensors of one type on their devices, in one copy for each device.

    Args:
        tensors: The tensors, on the host; None stays None.
        devices: A device for each.
    """
    found = list(tensors)
    for device in dict.fromkeys(devices):
        here = [
            (place, tensor)
            for place, (tensor, its) in enumerate(zip(tensors, devices, strict=True))
            if tensor is not None and its == device
        ]
        if not here:
            continue
        together = to_device(torch.cat([tensor.flatten() for _, tensor in here]), device)
        parts = torch.split(together, [tensor.numel() for _, tensor in here])
        for (place, tensor), part in zip(here, parts, strict=True):
            found[place] = part.view(tensor.shape)
    return found


def indices(tensors: Sequence[torch.Tensor], device: torch.device) -> tuple[torch.Tensor, ...]:
    """Return tensors of one type on a device, in one copy."""
    return tuple(each for each in moved(tensors, [device] * len(tensors)) if each is not None)
