"""Adapters that never act when the model reads text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.layers import find_decoder_stack, idle
from lm_eval_lora_boundary.errors import AdapterError

LAYERS = 2


def multimodal() -> Gemma3ForConditionalGeneration:
    text = {
        "vocab_size": 64,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    torch.manual_seed(0)
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return Gemma3ForConditionalGeneration(config).eval()


def adapted(targets: Any) -> Any:
    config = LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    return get_peft_model(multimodal(), config)


def test_an_adapter_of_the_vision_tower_alone_is_refused() -> None:
    model = adapted(r".*vision_tower.*(q_proj|v_proj)")
    with pytest.raises(
        AdapterError, match=r"none of the 4 modules .* runs when the model reads text"
    ):
        LoraCut(model)


def test_an_adapter_of_both_counts_images_as_layer_0() -> None:
    cut = LoraCut(adapted(r".*(q_proj|v_proj)"))
    seen = [module for module in cut.modules if "vision" in module.name]
    assert len(seen) == 2 * LAYERS
    assert {module.depth for module in seen} == {0}
    assert {module.depth for module in cut.modules} == set(range(LAYERS))


def test_what_runs_on_text_is_not_idle() -> None:
    model = multimodal()
    names = [name for name, module in model.named_modules() if not list(module.children())]
    found = idle(model, find_decoder_stack(model), names)
    assert found and all("vision" in name or "multi_modal" in name for name in found)
