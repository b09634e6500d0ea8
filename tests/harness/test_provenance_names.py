"""Whether names of base models mean other weights, and what they say about precision."""

from __future__ import annotations

import pytest

from lm_eval_lora_boundary.harness.provenance.names import bits, differ

# named in an adapter's config, and loaded: the same weights, or nothing that could be known
ALIKE = [
    ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
    ("meta-llama/Llama-3.1-8B", "META-LLAMA/llama-3.1-8b/"),
    ("meta-llama/Llama-3.1-8B", "/models/Llama-3.1-8B/"),
    ("/root/train/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
    ("C:\\models\\Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
    (
        "meta-llama/Llama-3.1-8B",
        "/home/a/.cache/huggingface/hub/models--meta-llama--Llama-3.1-8B/snapshots/0e9e39f249a1",
    ),
    ("NousResearch/Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"),  # a mirror
    ("unsloth/llama-3-8b-Instruct-bnb-4bit", "meta-llama/Meta-Llama-3-8B-Instruct"),
    ("unsloth/Meta-Llama-3.1-8B-Instruct-unsloth-bnb-4bit", "meta-llama/Llama-3.1-8B-Instruct"),
    ("TheBloke/Llama-2-7B-Chat-GPTQ", "meta-llama/Llama-2-7b-chat-hf"),
    ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2.5-7B-Instruct"),
    ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct-AWQ"),
    ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B-FP8"),
    ("meta-llama/Llama-3.2-1B-Instruct", "bartowski/Llama-3.2-1B-Instruct-GGUF"),
    ("/data/llama3-8b", "meta-llama/Meta-Llama-3-8B"),
    # names of folders that tell nothing
    ("/root/output/checkpoint-500", "meta-llama/Llama-3.1-8B"),
    ("meta-llama/Llama-3.1-8B", "/data/base"),
    ("./model", "meta-llama/Llama-3.1-8B"),
    ("models/base", "meta-llama/Llama-3.1-8B"),
    ("output/merged", "meta-llama/Llama-3.1-8B"),
    ("base_model", "gpt2"),
    ("", "meta-llama/Llama-3.1-8B"),
    ("meta-llama/Llama-3.1-8B", ""),
]
DIFFERENT = [
    ("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B-Instruct"),
    ("Qwen/Qwen2.5-7B", "/models/Qwen2.5-7B-Instruct"),
    ("/train/Qwen2.5-7B", "Qwen/Qwen2.5-7B-Instruct"),
    ("meta-llama/Llama-3-8B", "meta-llama/Llama-3.1-8B"),
    ("mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-v0.3"),
    ("unsloth/gemma-2-9b-bnb-4bit", "google/gemma-2-9b-it"),
    ("microsoft/phi-2", "microsoft/phi-1_5"),
    ("Qwen/Qwen2.5-7B", "/cache/hub/models--Qwen--Qwen2.5-7B-Instruct/snapshots/abc"),
]


@pytest.mark.parametrize(("named", "loaded"), ALIKE)
def test_no_alarm_where_names_may_mean_the_same_weights(named: str, loaded: str) -> None:
    assert not differ(named, loaded)
    assert not differ(loaded, named)


@pytest.mark.parametrize(("named", "loaded"), DIFFERENT)
def test_names_of_different_models_differ(named: str, loaded: str) -> None:
    assert differ(named, loaded)
    assert differ(loaded, named)


@pytest.mark.parametrize(
    ("named", "origin", "different"),
    [
        ("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B", False),
        ("Qwen/Qwen2.5-7B", "qwen/qwen2.5-7b/", False),
        ("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B-Instruct", True),
        ("/train/base", "Qwen/Qwen2.5-7B-Instruct", False),
        ("Qwen/Qwen2.5-7B", "/train/base", False),
    ],
)
def test_the_config_of_a_folder_says_what_it_holds(
    named: str, origin: str, different: bool
) -> None:
    assert differ(named, "/data/base", [origin]) == different


def test_a_folder_may_have_either_name() -> None:
    assert not differ("me/my-7b-sft", "/data/my-7b-sft", ["Qwen/Qwen2.5-7B"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unsloth/llama-3-8b-bnb-4bit", 4),
        ("unsloth/Qwen3-8B-unsloth-bnb-4bit/", 4),
        ("/models/llama_4bit", 4),
        ("x/model-4-bit", 4),
        ("TheBloke/Llama-2-7B-Chat-GPTQ", 4),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", 4),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", 8),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", 4),
        ("x/opt-8bit", 8),
        ("Qwen/Qwen3-8B-FP8", 8),
        ("me/merged_16bit", 16),
        ("me/llama-bf16", 16),
        ("me/llama-fp32", 32),
        # nothing is said
        ("meta-llama/Llama-3.1-8B", None),
        ("google/gemma-4b-it", None),
        ("microsoft/Phi-3-mini-4k-instruct", None),
        ("x/llama-14bit", None),
        ("unsloth-4bit/llama-8b", None),
        ("", None),
    ],
)
def test_the_precision_that_a_name_speaks_of(name: str, expected: int | None) -> None:
    assert bits(name) == expected
