"""Tiny quantized base models, by the backends that transformers has for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_models import save_adapter, tiny_model, tiny_tokenizer

TARGETS = ["q_proj", "v_proj", "down_proj"]


@dataclass(frozen=True)
class Backend:
    """A way to quantize a base model.

    Attributes:
        package: What must be installed for it.
        config: Returns transformers' config; it may import the package.
        settings: What the config says, in a few words.
    """

    package: str
    config: Callable[[], Any]
    settings: str

    @property
    def installed(self) -> bool:
        """Whether the package is there."""
        return find_spec(self.package) is not None


def _bits(**settings: Any) -> Callable[[], Any]:
    return lambda: transformers.BitsAndBytesConfig(**settings)


def _torchao() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig

    return transformers.TorchAoConfig(Int8WeightOnlyConfig())


BACKENDS = {
    "bitsandbytes, 4 bits": Backend(
        "bitsandbytes",
        _bits(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
        "load_in_4bit: True, bnb_4bit_quant_type: `nf4`",
    ),
    "bitsandbytes, 8 bits": Backend("bitsandbytes", _bits(load_in_8bit=True), "load_in_8bit: True"),
    "torchao, 8 bits": Backend("torchao", _torchao, "`Int8WeightOnlyConfig`"),
}
# They round the inputs of a layer, too: by the largest of all rows in a batch.
ROUNDS_INPUTS = {"bitsandbytes, 8 bits"}


def write_quantized(folder: Path, backend: Backend) -> tuple[Any, Path, Path]:
    """Write a quantized base model and an adapter; return the model in memory and both folders."""
    dense = tiny_model(hidden_size=64, intermediate_size=128)  # sizes that can be packed
    dense.save_pretrained(folder / "dense")
    adapter = save_adapter(folder / "adapter", dense, target_modules=TARGETS)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "dense",
        quantization_config=backend.config(),
        dtype=torch.float32,
        device_map="cpu",
    ).eval()
    model.save_pretrained(folder / "base")
    tiny_tokenizer().save_pretrained(folder / "base")
    return model, folder / "base", adapter
