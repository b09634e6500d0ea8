"""Hashes that tell base models apart: of weights, files of weights, and configs."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import nn

from ..errors import ModelError
from .base_model import loading_base, local_folder
from .checksums import checksum

_KINDS = ("*.safetensors", "*.bin", "*.gguf")  # engines load the first kind that is there
_BLOCK_BYTES = 1 << 24
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SAMPLED = 256  # values of every parameter


def json_sha256(content: Any) -> str:
    """Return the SHA-256 of a value as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def config_content(config: Any) -> dict[str, Any]:
    """Return a transformers config without the name of its model and the version that wrote it."""
    content: dict[str, Any] = config.to_dict()
    return {k: v for k, v in content.items() if k not in ("_name_or_path", "transformers_version")}


def weights_sample(model: nn.Module) -> str:
    """Return a hash that tells base models apart, and is the same in every precision.

    It covers the name, the shape and the first values (in bfloat16) of every parameter. Take it
    before an adapter is put on the model.
    """
    return _sample(
        (name, tuple(tensor.shape), None if tensor.is_meta else _stored(tensor).detach().flatten())
        for name, tensor in model.named_parameters()
    )


def _stored(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor itself, or the first of those that a quantized one is made of."""
    while hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        tensor = getattr(tensor, names[0])
    return tensor


def _sample(parameters: Iterable[tuple[str, tuple[int, ...], torch.Tensor | None]]) -> str:
    """Hash the name, the shape and the first values, if there are any, of every parameter."""
    digest = hashlib.sha256()
    for name, shape, values in sorted(parameters, key=lambda parameter: parameter[0]):
        digest.update(f"{name}\0{shape}\0".encode())
        if values is not None:
            rounded = values[:_SAMPLED].to("cpu", torch.bfloat16)
            digest.update(rounded.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def weight_files(pretrained: str, revision: str | None) -> list[Path]:
    """Return the files that hold the weights of a base model, downloaded if necessary.

    Raises:
        ModelError: There are no such files.
    """
    for kind in _KINDS:
        folder = local_folder("pretrained", pretrained, revision, [kind], ModelError)
        if files := sorted(folder.glob(kind)):
            return files
    raise ModelError(
        f"pretrained={pretrained} holds no weights in {', '.join(_KINDS)}, so its answers could "
        "not be told from those of another base model; give a folder with weights"
    )


def files_fingerprint(files: Iterable[Path]) -> str:
    """Return a hash of the names and contents of files.

    Files in the hub's cache are not read, since their names there are hashes.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{_file_sha256(file)}\0".encode())
    return digest.hexdigest()


def _file_sha256(file: Path) -> str:
    blob = file.resolve()
    if file.is_symlink() and blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):
        return blob.name
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def checkpoint_sample(files: Iterable[Path], empty: nn.Module, pretrained: str, **load: Any) -> str:
    """Return the :func:`weights_sample` of a checkpoint.

    If the files name the tensors as the model does, only the beginning of every tensor is read.
    Otherwise the model is loaded.

    Args:
        files: The files that hold its weights.
        empty: The model without weights.
        pretrained: Local folder or hub id.
        **load: More arguments of ``from_pretrained``.

    Raises:
        ModelError: The model cannot be loaded.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in empty.named_parameters()}
    values: dict[str, torch.Tensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as content:
                for name in shapes.keys() & content.keys():
                    rows = content.get_slice(name)
                    width = math.prod(rows.get_shape()[1:])
                    values[name] = rows[: math.ceil(_SAMPLED / width)].flatten()
    if shapes.keys() == values.keys():
        return _sample((name, shape, values[name]) for name, shape in shapes.items())
    with loading_base(pretrained):
        model = transformers.AutoModelForCausalLM.from_pretrained(pretrained, **load)
    return weights_sample(model)


def fingerprint(model: nn.Module) -> str:
    """Return a hash of all weights of a model, fast enough for large models on any device.

    It covers the name, shape, type and :func:`.checksum` of every tensor, or only the shape and
    type of those that are offloaded.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sums = [] if tensor.is_meta else checksum(tensor)
        line = [name, list(tensor.shape), str(tensor.dtype), sums]
        digest.update(json.dumps(line).encode())
    return digest.hexdigest()
