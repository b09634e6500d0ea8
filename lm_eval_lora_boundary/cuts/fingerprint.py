"""The boundary that a sweep recorded in an adapter folder, for ``boundary=auto``."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import safe_open
from torch import nn

from ..errors import ModelError
from .base_model import loading_base
from .checksums import checksum

_KINDS = ("*.safetensors", "*.bin", "*.gguf")  # what is there first is what engines load

_AT_ONCE = 1 << 24  # bytes

_SHA256 = re.compile(r"[0-9a-f]{64}")

SAMPLE = 256  # values of every parameter that are looked at


def weights_sample(model: nn.Module) -> str:
    """Return a hash that tells one base model from another, whatever precision it is loaded in.

    Name and shape of every parameter go in, and its first values, rounded to bfloat16.

    Args:
        model: The base model, before an adapter is put on it.
    """
    return sample_of(
        (name, tuple(tensor.shape), None if tensor.is_meta else tensor.detach().flatten())
        for name, tensor in model.named_parameters()
    )


def sample_of(
    parameters: Iterable[tuple[str, tuple[int, ...], torch.Tensor | None]],
) -> str:
    """Return what :func:`weights_sample` gives for a model with these parameters.

    Args:
        parameters: Name, shape, and at least the first 256 values of each, flattened; None for
            values that are not at hand.
    """
    digest = hashlib.sha256()
    for name, shape, values in sorted(parameters, key=lambda each: each[0]):
        digest.update(f"{name}\0{shape}\0".encode())
        if values is not None:
            rounded = values[:SAMPLE].to("cpu", torch.bfloat16)
            digest.update(rounded.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def weight_files(pretrained: str, revision: str | None) -> list[Path]:
    """Return the files that hold the weights of a base model, downloaded if need be.

    Args:
        pretrained: Local folder, or hub id.
        revision: Branch, tag or commit on the hub.

    Raises:
        ModelError: There are none.
    """
    for kind in _KINDS:
        folder = Path(pretrained).expanduser()
        if not folder.is_dir():
            try:
                folder = Path(
                    snapshot_download(pretrained, revision=revision, allow_patterns=[kind])
                )
            except (HfHubHTTPError, HFValidationError, OSError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise ModelError(
                    f"pretrained={pretrained} is neither a local folder nor a model that the hub "
                    f"gave ({type(error).__name__}: {reason}); check the name and your access"
                ) from error
        if found := sorted(folder.glob(kind)):
            return found
    raise ModelError(
        f"pretrained={pretrained} holds no weights in {', '.join(_KINDS)}, so that answers of this "
        "base model could not be told from those of another one"
    )


def files_fingerprint(files: Iterable[Path]) -> str:
    """Return a hash of the content of files.

    Args:
        files: The files. Those in the hub's cache are named by their hash, and not read.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{_sha256(file)}\0".encode())
    return digest.hexdigest()


def _sha256(file: Path) -> str:
    blob = file.resolve()
    if file.is_symlink() and blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):
        return blob.name
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()


def checkpoint_sample(files: Iterable[Path], empty: nn.Module, pretrained: str, **load: Any) -> str:
    """Return what :func:`.weights_sample` gives for the loaded model.

    Only the beginning of every tensor is read, if the files call the tensors as the model does;
    otherwise the model is loaded.

    Args:
        files: The files that hold its weights.
        empty: The model without weights.
        pretrained: Local folder, or hub id.
        **load: How transformers loads it.

    Raises:
        ModelError: The model cannot be loaded.
    """
    shapes = {name: tuple(each.shape) for name, each in empty.named_parameters()}
    where: dict[str, Path] = {}
    for file in files:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as content:
                where |= dict.fromkeys(content.keys(), file)
    if shapes.keys() <= where.keys():
        values = _beginnings({name: where[name] for name in shapes})
        return sample_of((name, shape, values[name]) for name, shape in shapes.items())
    with loading_base(pretrained):
        model = transformers.AutoModelForCausalLM.from_pretrained(pretrained, **load)
    return weights_sample(model)


def _beginnings(where: Mapping[str, Path]) -> dict[str, torch.Tensor]:
    """Return as many rows of every tensor as are looked at, flattened."""
    found: dict[str, torch.Tensor] = {}
    for file in set(where.values()):
        with safe_open(file, framework="pt") as content:
            for name in (name for name, home in where.items() if home == file):
                rows = content.get_slice(name)
                width = math.prod(rows.get_shape()[1:])
                found[name] = rows[: -(-SAMPLE // width)].flatten()
    return found


def fingerprint(model: nn.Module) -> str:
    """Return a hash of a model's weights, quick enough for large models on any device.

    Of every tensor, name, shape, type and checksum go in. That tells apart what anyone trains,
    rounds or exchanges; it is no protection against forgery.

    Args:
        model: A model. Offloaded tensors count with their shape alone.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sums = [] if tensor.is_meta else checksum(tensor)
        line = [name, list(tensor.shape), str(tensor.dtype), sums]
        digest.update(json.dumps(line).encode())
    return digest.hexdigest()
