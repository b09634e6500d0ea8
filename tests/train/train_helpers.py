"""A small task to train on, and readers for what training writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

DOCS = [
    {"question": f"What is {i} plus {i + 1}?", "answer": f"It is {2 * i + 1}.", "all": ["a", "b"]}
    for i in range(12)
]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TASK: dict[str, Any] = {
    "dataset_path": "json",
    "training_split": "train",
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
    "metric_list": [{"metric": "exact_match"}],
    "metadata": {"version": 1.5},
}

WriteTask = Callable[..., str]


class Interrupted(Exception):
    """Simulates a kill."""


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "adapter_model.safetensors")


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "training.json").read_text("utf-8"))
    return content


def task_stub() -> dict[str, Any]:
    return {"get_config": lambda _: None, "set_fewshot_seed": lambda seed: None}
