"""Whether vLLM loads an adapter, by its rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
from export_helpers import run

from lm_eval_lora_boundary.errors import AdapterError
from lm_eval_lora_boundary.exports.vllm_support import max_lora_rank, vllm_conditions, vllm_problems

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
PLAIN = {f"{LAYER}.lora_A.weight": (8, 32), f"{LAYER}.lora_B.weight": (32, 8)}


def lora(**settings: Any) -> peft.LoraConfig:
    return peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM", **settings)


def test_a_plain_adapter_has_no_problem() -> None:
    assert vllm_problems(lora(), PLAIN) == []
    assert vllm_conditions(lora(), PLAIN) == []


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({"r": 1}, 16),
        ({"r": 16}, 16),
        ({"r": 17}, 32),
        ({"r": 257}, 320),
        ({"r": 512}, 512),
        ({"r": 513}, None),
        ({"r": 8, "rank_pattern": {"q_proj": 65}}, 128),
        ({"r": 65, "rank_pattern": {"q_proj": 8}}, 128),
    ],
)
def test_the_rank_that_vllm_needs(settings: dict[str, Any], needed: int | None) -> None:
    assert max_lora_rank(lora(**settings)) == needed
    assert bool(vllm_problems(lora(**settings), PLAIN)) == (needed is None)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"lora_bias": True}, "lora_bias"),
        ({"bias": "all"}, "bias=all"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"alora_invocation_tokens": [1]}, "Activated LoRA"),
        ({"use_qalora": True}, "QALoRA"),
    ],
)
def test_features_that_vllm_refuses(settings: dict[str, Any], word: str) -> None:
    (problem,) = vllm_problems(lora(**settings), PLAIN)
    assert word in problem


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        (f"{LAYER}.lora_A.weight", True),
        ("base_model.model.model.embed_tokens.lora_embedding_A", True),
        ("base_model.model.model.embed_tokens.base_layer.weight", True),
        ("base_model.model.lm_head.base_layer.weight", True),
        ("base_model.model.score.weight", True),
        ("base_model.model.lm_head.weight", False),
        ("base_model.model.transformer.wte.base_layer.weight", False),
        ("base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", False),
        (f"{LAYER}.lora_magnitude_vector", False),
        (f"{LAYER}.base_layer.bias", False),
        ("weight", False),
    ],
)
def test_tensors_that_vllm_reads(name: str, readable: bool) -> None:
    problems = vllm_problems(lora(), {name: (8, 32)})
    assert [f"first: {name}" in problem for problem in problems] == ([] if readable else [True])


def test_conditions_are_named() -> None:
    embeddings = {"base_model.model.model.embed_tokens.lora_embedding_A": (8, 64)}
    assert "embedding_modules" in vllm_conditions(lora(), embeddings)[0]
    experts = {"base_model.model.model.layers.0.mlp.experts.base_layer.lora_A.weight": (8, 64)}
    assert "is_3d_moe_weight" in vllm_conditions(lora(), experts)[0]
    assert "rank_pattern" in vllm_conditions(lora(alpha_pattern={"q_proj": 3}), PLAIN)[0]
    head = {"base_model.model.lm_head.lora_B.weight": (258049, 8)}
    assert "larger than vLLM's largest" in vllm_problems(lora(), head)[0]


@pytest.mark.filterwarnings("ignore:.*tied.*:UserWarning")
def test_a_cut_may_load_where_the_whole_adapter_does_not(tiny: Any, tmp_path: Path) -> None:
    """The trained copy of the head is dropped with the head's side."""
    base, adapter = tiny(target_modules=["q_proj"], modules_to_save=["lm_head"])
    with pytest.raises(AdapterError, match=r"vLLM cannot load.*modules_to_save \(lm_head\)"):
        run(base, adapter, 3, tmp_path / "out", check="vllm")
    assert not (tmp_path / "out").exists()
    facts = run(base, adapter, 2, tmp_path / "out", check="vllm")
    assert facts["vllm_max_lora_rank"] == 16
    assert facts["vllm_problems"] == []
