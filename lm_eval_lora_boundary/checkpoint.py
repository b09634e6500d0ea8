"""Tell base models apart by their files, for engines that load weights where nobody sees them."""

from __future__ import annotations

import hashlib
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

from .checks import loading_base
from .errors import ModelError
from .record import SAMPLE, sample_of, weights_sample

_KINDS = ("*.safetensors", "*.bin", "*.gguf")  # what is there first is what engines load
_AT_ONCE = 1 << 24  # bytes
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
