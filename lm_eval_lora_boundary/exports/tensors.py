"""The tensors of an adapter's file."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import load_peft_weights
from safetensors.torch import save_file


def read(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of an adapter folder on the CPU, by their names in the file."""
    tensors: dict[str, torch.Tensor] = load_peft_weights(str(folder), device="cpu")
    return tensors


def write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors to a safetensors file, bit for bit.

    Raises:
        OSError: The file cannot be written.
    """
    # pickled tensors may share memory, which safetensors refuses
    own = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    save_file(own, path, metadata={"format": "pt"})


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Return whether two sets of tensors have the same names, types, shapes and bits."""
    return a.keys() == b.keys() and all(_same_bits(a[name], b[name]) for name in a)


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    x, y = (tensor.contiguous().flatten().view(torch.uint8) for tensor in (a, b))
    return torch.equal(x, y)


def size(tensors: dict[str, torch.Tensor]) -> int:
    """Return the number of bytes that tensors take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
