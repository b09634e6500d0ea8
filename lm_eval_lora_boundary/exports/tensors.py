"""The tensors of an adapter's file, and the modules that they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from peft import load_peft_weights
from safetensors.torch import save_file

from ..cuts.adapter_folder import PREFIX, shared
from ..cuts.cut import LoraCut
from ..cuts.keep import Cut
from ..errors import AdapterError


def kept_names(names: Iterable[str], model: LoraCut, cut: Cut | int, source: Path) -> list[str]:
    """Return the names, in the file ``source``, of the tensors that a cut keeps, sorted.

    Tensors that all modules share are kept.

    Raises:
        AdapterError: A tensor belongs to no module, by its name.
    """
    keeps = dict.fromkeys((module.name for module in model.modules), False)
    keeps |= dict.fromkeys((module.name for module in model.kept(cut)), True)
    kept = []
    for name in sorted(names):
        if shared(name):
            kept.append(name)
            continue
        owner = name.removeprefix(PREFIX)
        while owner and owner not in keeps:
            owner = owner.rpartition(".")[0]
        if not owner:
            raise AdapterError(
                f"{source} holds {name}, a name that the installed transformers and PEFT do not "
                "use, so its layer is unknown. Load the adapter with PEFT and save it again with "
                "save_pretrained(), then export that; or merge."
            )
        if keeps[owner]:
            kept.append(name)
    return kept


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
