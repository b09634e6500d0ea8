"""Adapters of every kind that PEFT has, tiny and random, for a tiny llama model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from tiny_models import LAYERS, tiny_model

TARGETS = ["q_proj", "v_proj", "down_proj"]
NORMS = ["input_layernorm", "post_attention_layernorm", "norm"]
# What a tiny adapter needs besides its targets.
SETTINGS: dict[str, dict[str, Any]] = {
    "LORA": {"r": 4},
    "ADALORA": {"init_r": 4, "target_r": 2, "total_step": 10},
    "ADAMSS": {},
    "BEFT": {},
    "BOFT": {"boft_block_size": 4},
    "C3A": {"block_size": 16},
    "DEFT": {"r": 4},
    "DELORA": {"r": 4},
    "FOURIERFT": {"n_frequency": 20},
    "FROD": {"progressbar": False},
    "GLORA": {"r": 4},
    "GRALORA": {"r": 4, "gralora_k": 2},
    "HIRA": {"r": 4},
    "HRA": {"r": 4},
    "IA3": {"feedforward_modules": ["down_proj"]},
    "LILY": {"r": 4, "stride_A": 2, "num_B": 2},
    "LN_TUNING": {"target_modules": NORMS},
    "LOHA": {"r": 4},
    "LOKR": {"r": 4},
    "MISS": {"r": 4},
    "OFT": {"r": 0, "oft_block_size": 4},
    "OSF": {"effective_rank": 4},
    "PEANUT": {"r": 4},
    "PSOFT": {"r": 4, "psoft_alpha": 8},
    "PVERA": {"r": 4},
    "RANDLORA": {"r": 4},
    "ROAD": {"group_size": 8},
    "SHIRA": {"r": 4},
    "SUPERTUNING": {"sparsity": 0.9},
    "TINYLORA": {"r": 2},
    "TRAINABLE_TOKENS": {"token_indices": [4, 5, 6], "target_modules": ["embed_tokens"]},
    "UNILORA": {"r": 4, "theta_d_length": 64},
    "VBLORA": {"r": 4, "num_vectors": 16, "vector_length": 16},
    "VERA": {"r": 4},
    "WAVEFT": {"n_frequency": 20},
}


def _factory(name: str) -> Callable[..., Any]:
    def make(**more: Any) -> Any:
        usual = {"target_modules": TARGETS, "task_type": "CAUSAL_LM"}
        return PEFT_TYPE_TO_CONFIG_MAPPING[name](**(usual | SETTINGS[name] | more))

    return make


# Name in PEFT to a function that returns a config; keyword arguments are settings.
CONFIGS: dict[str, Callable[..., Any]] = {name: _factory(name) for name in SETTINGS}


def save_kind(folder: Path, name: str, base: Any = None, **settings: Any) -> Path:
    """Write a random adapter of a kind for ``base``, which is changed, and return its folder."""
    torch.manual_seed(3)
    base = tiny_model() if base is None else base
    model = peft.get_peft_model(base, CONFIGS[name](**settings))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator) * 0.1
            parameter.data = parameter.data + noise.to(parameter.dtype)
    model.save_pretrained(folder)
    return folder


def layer_of(name: str) -> int:
    """Second implementation of depth: the first number in the name, or the side of the model."""
    number = next((int(part) for part in name.split(".") if part.isdigit()), None)
    return number if number is not None else 0 if "embed" in name else LAYERS - 1
