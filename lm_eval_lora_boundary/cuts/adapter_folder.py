"""Read an adapter folder, local or from the hub, without loading any model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from peft import LoraConfig
from safetensors import SafetensorError, safe_open

from ..errors import AdapterError
from .cut import check_supported

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
RECORD = "lora_boundary.json"
_PREFIX = "base_model.model."
# what of a config decides, with the tensors, what the adapter does to a model
_DECIDING = (
    *("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "bias"),
    *("lora_bias", "fan_in_fan_out", "init_lora_weights", "target_modules", "exclude_modules"),
    *("target_parameters", "modules_to_save", "layers_to_transform", "layers_pattern"),
    *("layer_replication", "trainable_token_indices", "use_qalora", "alora_invocation_tokens"),
)


@dataclass(frozen=True)
class AdapterFolder:
    """A LoRA adapter on disk.

    Attributes:
        path: The local folder.
        config: Its PEFT config.
        shapes: Shape of every tensor, by the name in the file without ``base_model.model.``.
        sha256: SHA-256 over name, dtype, shape and bytes of all tensors in the order of their
            names: the same adapter gives the same hash, however the file was written.
    """

    path: Path
    config: LoraConfig
    shapes: dict[str, tuple[int, ...]] = field(repr=False)
    sha256: str

    @property
    def config_sha256(self) -> str:
        """SHA-256 over what in the config decides what the adapter does, scaling for one.

        What is not set is left out, so that other versions of PEFT give the same.
        """
        values = {name: getattr(self.config, name, None) for name in _DECIDING}
        ordered = {
            name: sorted(value) if isinstance(value, set) else value
            for name, value in values.items()
            if value
        }
        return hashlib.sha256(json.dumps(ordered, sort_keys=True, default=str).encode()).hexdigest()

    def lora_modules(self) -> set[str]:
        """Return the names of the modules that the file holds LoRA tensors for."""
        return {name.partition(".lora_")[0] for name in self.shapes if ".lora_" in name}

    def whole_tensors(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of the base tensors that the file holds whole.

        These are saved copies of modules, trained biases and embeddings that PEFT saved because
        the vocabulary was resized.
        """
        adapter_only = (".lora_", ".trainable_tokens_", ".modules_to_save.", ".original_module.")
        return {
            name.replace(".token_adapter.", ".").replace(".base_layer.", "."): shape
            for name, shape in self.shapes.items()
            if not any(part in name for part in adapter_only)
        }

    def saved_originals(self) -> set[str]:
        """Return the names of base tensors that PEFT saved although a copy was trained."""
        part = ".original_module."
        return {name.replace(part, ".") for name in self.shapes if part in name}


def open_adapter(source: str | Path, revision: str | None = None) -> AdapterFolder:
    """Open a LoRA adapter and check that it is whole.

    Args:
        source: A local folder, or the id of a repository on the hub.
        revision: Branch, tag or commit on the hub.

    Raises:
        AdapterError: There is no adapter there, it is not a LoRA adapter, or its weights are
            missing or damaged.
    """
    path = _local(source, revision)
    config = _read_config(path)
    weights = next((path / name for name in WEIGHTS if (path / name).is_file()), None)
    if weights is None:
        raise AdapterError(
            f"{path} has an {CONFIG} but no weights; expected {' or '.join(WEIGHTS)}. Save the "
            "adapter with model.save_pretrained()."
        )
    digest = hashlib.sha256()
    shapes: dict[str, tuple[int, ...]] = {}
    tensors = _read_tensors(weights)
    for name in sorted(tensors):
        if not isinstance(tensors[name], torch.Tensor):
            raise AdapterError(
                f"{weights} holds {name}, which is no tensor; save the adapter again"
            )
        tensor = tensors[name].contiguous()
        shapes[name.removeprefix(_PREFIX)] = tuple(tensor.shape)
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    if not shapes:
        raise AdapterError(f"{weights} holds no tensors; the adapter would have no effect")
    return AdapterFolder(path, config, shapes, digest.hexdigest())


def _local(source: str | Path, revision: str | None) -> Path:
    path = Path(source).expanduser()
    if path.is_dir():
        if not (path / CONFIG).is_file():
            raise AdapterError(
                f"peft={source} is a folder without {CONFIG}, so not a PEFT adapter; expected a "
                "folder written by save_pretrained()"
            )
        return path
    if path.is_file():
        raise AdapterError(f"peft={source} is a file; give the folder that holds {CONFIG}")
    try:
        folder = snapshot_download(
            str(source), revision=revision, allow_patterns=[CONFIG, RECORD, "adapter_model.*"]
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise AdapterError(
            f"peft={source} is neither a local folder nor an adapter that the hub gave "
            f"({type(error).__name__}: {reason}); check the path, the name or your access"
        ) from error
    if not (Path(folder) / CONFIG).is_file():
        raise AdapterError(f"the hub repository {source} has no {CONFIG}, so is not a PEFT adapter")
    return Path(folder)


def _read_config(path: Path) -> LoraConfig:
    try:
        raw: Any = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path / CONFIG} cannot be read: {error}") from error
    kind = raw.get("peft_type") if isinstance(raw, dict) else None
    if kind != "LORA":
        raise AdapterError(
            f"{path} is an adapter of peft_type={kind}; a boundary needs LoRA modules in the "
            "decoder layers (peft_type=LORA). Use --model hf for other adapters."
        )
    try:
        config = LoraConfig.from_pretrained(str(path))
    except (TypeError, ValueError) as error:
        raise AdapterError(f"{path / CONFIG} is no LoRA config of this PEFT: {error}") from error
    check_supported(config)
    return config


def _read_tensors(weights: Path) -> dict[str, torch.Tensor]:
    remedy = "the file is truncated or damaged; copy or download it again"
    if weights.suffix == ".safetensors":
        try:
            with safe_open(weights, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise AdapterError(f"{weights} cannot be read ({error}); {remedy}") from error
    try:
        tensors: dict[str, torch.Tensor] = torch.load(
            weights, map_location="cpu", weights_only=True
        )
    except Exception as error:  # unpickling damaged bytes raises anything
        raise AdapterError(f"{weights} cannot be read ({error}); {remedy}") from error
    return tensors
