"""Find and read an adapter's file of tensors. Nothing in it is believed before it is checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..errors import AdapterError, first_line
from ..untrusted import is_regular, open_regular
from .pickled import check_pickled

WEIGHTS = "adapter_model.safetensors"
_ALL_WEIGHTS = (WEIGHTS, "adapter_model.bin")  # in the order in which PEFT looks for them
_LONGEST_HEADER = 32 * 2**20  # bytes; a mixture of 256 experts in 61 layers has 15 million
_MOST_TENSORS = 250_000
# a pickled file may hold a tensor under several names, and each is read
_MOST_SHARING = 4


def weights_file(folder: Path) -> Path:
    """Return the file of tensors that PEFT will read.

    Raises:
        AdapterError: There is none, or it is no regular file.
    """
    for path in (folder / name for name in _ALL_WEIGHTS):
        if is_regular(path):
            return path
        if path.exists() or path.is_symlink():
            raise AdapterError(
                f"{path} is no regular file, but a folder, a pipe, a device or a broken link; copy "
                "the file itself there"
            )
    raise AdapterError(
        f"{folder} holds a config but no weights; expected {' or '.join(_ALL_WEIGHTS)}. Save the "
        "adapter with model.save_pretrained()."
    )


def read_tensors(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield names and tensors, sorted by name; all numbers are finite.

    Raises:
        AdapterError: The file is damaged, or holds something else.
    """
    found = _pickled(file) if file.suffix == ".bin" else _safetensors(file)
    while True:
        try:
            name, tensor = next(found)
        except StopIteration:
            return
        except AdapterError:
            raise
        except Exception as error:  # damaged bytes can raise anything
            raise AdapterError(
                f"{file} cannot be read ({first_line(error)}); the file is truncated or damaged: "
                "copy or download it again"
            ) from error
        if not _finite(tensor):
            raise AdapterError(
                f"{file}: {name} holds NaN or infinite numbers, so every score would be NaN; the "
                "training has diverged: use an earlier checkpoint"
            )
        yield name, tensor


def _safetensors(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    with open_regular(file) as content:
        length = int.from_bytes(content.read(8), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length:,} bytes; at most {_LONGEST_HEADER:,} are read")
        # every tensor has these, and nothing else in the header does
        entries = content.read(length).count(b'"data_offsets"')
    if entries > _MOST_TENSORS:
        raise ValueError(f"{entries:,} tensors; at most {_MOST_TENSORS:,} are read")
    with safe_open(file, framework="pt") as tensors:
        names = sorted(tensors.keys())
        if len(names) != entries:
            raise ValueError(f"{len(names)} names for {entries} tensors")
        for name in names:
            yield name, tensors.get_tensor(name)


def _pickled(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    check_pickled(file)
    found: Any = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ValueError("no tensors by name")
    strange = next((n for n, each in found.items() if not isinstance(each, torch.Tensor)), None)
    if strange is not None:
        raise AdapterError(f"{file} holds {strange}, which is not a tensor; save the adapter again")
    for name, tensor in found.items():
        # a tensor can claim to repeat one number a billion times
        if tensor.nbytes > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name} is larger than its data")
    if sum(each.nbytes for each in found.values()) > _MOST_SHARING * file.stat().st_size:
        raise ValueError(f"its tensors are more than {_MOST_SHARING} times the file")
    for name in sorted(found):
        yield name, found[name]


def _finite(tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point():
        return True
    # torch cannot ask types of one byte
    return bool(torch.isfinite(tensor.float() if tensor.itemsize == 1 else tensor).all())
