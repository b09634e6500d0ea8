"""Exports of tiny models, and the models they must equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import safetensors.torch
import torch
import transformers
from model_helpers import TOKENS
from peft.tuners.lora import LoraLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from tiny_models import LAYERS

from lm_eval_lora_boundary.exports.api import export

WEIGHTS = "adapter_model.safetensors"


def run(base: Path, adapter: Path, boundary: Any, output: Path, **kwargs: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
    return export(str(base), adapter, boundary, output, **(settings | kwargs))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / WEIGHTS)


def config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "adapter_config.json").read_text())


def load_base(base: Path) -> Any:
    load = transformers.AutoModelForCausalLM.from_pretrained
    return load(base, dtype=torch.float32).eval()


def load_peft(base: Path, adapter: Path) -> Any:
    return peft.PeftModel.from_pretrained(load_base(base), adapter).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


def layer_in(name: str) -> int:
    """Second implementation of depth: the first number in the name, or the side of the model."""
    number = next((int(part) for part in name.split(".") if part.isdigit()), None)
    return number if number is not None else 0 if "embed" in name else LAYERS - 1


def switch(model: Any, boundary: int) -> Any:
    """Second implementation of a cut: PEFT's own switches above the boundary."""
    for name, module in model.named_modules():
        if isinstance(module, (LoraLayer, AuxiliaryTrainingWrapper)):
            module.enable_adapters(layer_in(name) <= boundary)
    return model
