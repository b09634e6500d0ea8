"""Read an adapter folder, local or from the hub, without loading any model."""

from __future__ import annotations

import hashlib
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig

from ..errors import AdapterError, first_line
from ..untrusted import read_json
from .base_model import local_folder
from .config_types import check_types
from .fingerprint import json_sha256
from .kinds import Kind, check_supported, config_class, kind_of, named_kind, tensor_prefix
from .paths import CONFIG as CONFIG
from .paths import check_adapter_folder, check_adapter_path
from .weights import WEIGHTS as WEIGHTS
from .weights import read_tensors, weights_file

RECORD = "lora_boundary.json"
PREFIX = "base_model.model."  # of all names in the file
_LARGEST_CONFIG = 4 * 2**20  # bytes; the longest lists of modules take a tenth
# What does not decide what the adapter computes: names, training, and how it is loaded. Everything
# else does, also options that a later PEFT adds.
_NOT_DECIDING = {
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path"),
    *("revision", "inference_mode", "lora_dropout", "megatron_config", "megatron_core"),
    *("runtime_config", "loftq_config", "eva_config", "corda_config", "lora_ga_config"),
}


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter on disk.

    Attributes:
        path: The local folder.
        config: Its PEFT config.
        shapes: Shape of every tensor, by its name in the file without ``base_model.model.``.
        sha256: SHA-256 over name, dtype, shape and bytes of all tensors, sorted by name. The
            format of the file does not change it.
        bytes: Bytes of every tensor in the file, by the same names as ``shapes``.
    """

    path: Path
    config: PeftConfig
    shapes: dict[str, tuple[int, ...]] = field(repr=False)
    sha256: str
    bytes: dict[str, int] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> Kind:
        """What can be done with adapters of its kind."""
        return kind_of(self.config)

    @property
    def config_sha256(self) -> str:
        """SHA-256 over the part of the config that decides what the adapter computes.

        Options with PEFT's defaults are left out, so that a version of PEFT with more options gives
        the same hash.
        """
        config: Any = self.config
        deciding = {
            each.name: _plain(getattr(config, each.name))
            for each in fields(config)
            if each.name not in _NOT_DECIDING
            and not each.name.endswith("_dropout")
            and getattr(config, each.name) != default_value(each)
        }
        # without it, adapters of other kinds could have the same settings
        kind = {} if type(config) is LoraConfig else {"peft_type": type(config).__name__}
        return json_sha256(deciding | kind)

    def own_tensors(self) -> set[str]:
        """Return the names of the tensors that belong to a module and are the adapter's own."""
        part = f".{tensor_prefix(self.config)}"
        return {name for name in self.shapes if part in name and not shared(name)}

    def lora_modules(self) -> set[str]:
        """Return the modules for which the file holds tensors of LoRA, or what is in its place."""
        part = f".{tensor_prefix(self.config)}"
        return {name.partition(part)[0] for name in self.own_tensors()}

    def whole_tensors(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the base tensors that the file holds whole, by name.

        These are copies of trained modules, trained biases, and the embeddings of a resized
        vocabulary.
        """
        adapter_only = (".trainable_tokens_", ".modules_to_save.", ".original_module.")
        own = self.own_tensors()
        return {
            base_name(name): shape
            for name, shape in self.shapes.items()
            if name not in own
            and not shared(name)
            and not any(part in name for part in adapter_only)
        }

    def saved_originals(self) -> set[str]:
        """Return the base tensors that PEFT saved although it trained a copy of them."""
        part = ".original_module."
        return {name.replace(part, ".") for name in self.shapes if part in name}


def _plain(value: Any) -> Any:
    """Return a value of a config as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(_plain, value))
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def default_value(each: Field[Any]) -> Any:
    """Return the value that a setting has if it is not given."""
    return each.default if each.default_factory is MISSING else each.default_factory()


def shared(name: str) -> bool:
    """Return whether a tensor belongs to no module: all modules share it, as VeRA's projections.

    ``name`` is the one in the file, with or without ``base_model.model.``.
    """
    return name.removeprefix(PREFIX).startswith(PREFIX.partition(".")[0] + ".")


def base_name(name: str) -> str:
    """Return the name in the base model of a tensor that PEFT has wrapped."""
    return name.replace(".token_adapter.", ".").replace(".base_layer.", ".")


def open_adapter(source: str | Path, revision: str | None = None) -> AdapterFolder:
    """Open an adapter and check that it is complete.

    Args:
        source: Local folder or hub id.
        revision: Branch, tag or commit on the hub.

    Raises:
        AdapterError: The adapter does not exist, is of a kind that has no boundary, or its
            weights are missing or damaged.
    """
    path = _local(source, revision)
    config = _read_config(path)
    weights = weights_file(path)
    digest = hashlib.sha256()
    shapes: dict[str, tuple[int, ...]] = {}
    sizes: dict[str, int] = {}
    for name, found in read_tensors(weights):
        tensor = found.contiguous()
        shapes[name.removeprefix(PREFIX)] = tuple(tensor.shape)
        sizes[name.removeprefix(PREFIX)] = tensor.numel() * tensor.element_size()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    if not shapes:
        raise AdapterError(f"{weights} holds no tensors; the adapter would have no effect")
    return AdapterFolder(path, config, shapes, digest.hexdigest(), sizes)


def _local(source: str | Path, revision: str | None) -> Path:
    check_adapter_path(source)
    files = [CONFIG, RECORD, "adapter_model.*"]
    folder = local_folder("peft", source, revision, files, AdapterError)
    check_adapter_folder(folder, source)
    return folder


def _read_config(path: Path) -> PeftConfig:
    try:
        raw: Any = read_json(path / CONFIG, _LARGEST_CONFIG)
    except OSError as error:
        raise AdapterError(f"{path / CONFIG} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise AdapterError(
            f"{path / CONFIG} cannot be read: it is not JSON as save_pretrained() writes it "
            f"({error}); copy or download it again"
        ) from error
    peft_type = raw.get("peft_type") if isinstance(raw, dict) else None
    kind = named_kind(peft_type, path)
    cls = config_class(str(peft_type))
    check_types(raw, cls, path / CONFIG)
    try:
        config: PeftConfig = cls.from_pretrained(str(path))
    except (TypeError, ValueError, RecursionError) as error:
        raise AdapterError(
            f"{path / CONFIG} is not a {kind.name} config of this PEFT: {first_line(error)}"
        ) from error
    check_supported(config)
    return config
