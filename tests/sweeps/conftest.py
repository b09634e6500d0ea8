"""Small lm-eval tasks over made-up rows, in the words of the tiny tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm_eval_lora_boundary.sweeps import run as sweep_flow
from lm_eval_lora_boundary.task_loading import task_manager
from lm_eval_lora_boundary.traces import run as trace_flow

COMMON = """
dataset_path: json
dataset_kwargs:
  data_files:
    train: {folder}/train.jsonl
    validation: {folder}/validation.jsonl
    test: {folder}/test.jsonl
training_split: train
validation_split: validation
test_split: test
fewshot_split: train
fewshot_config: {{sampler: first_n}}
doc_to_target: "{{{{answer}}}}"
"""
TASKS = {
    "words": """
output_type: generate_until
doc_to_text: "w1 w2 {{question}}"
generation_kwargs: {until: ["w9"], max_gen_toks: 10}
metric_list: [{metric: exact_match}, {metric: bleu}]
""",
    "unsafe": """
output_type: generate_until
doc_to_text: "{{question}}"
unsafe_code: true
generation_kwargs: {max_gen_toks: 2}
metric_list: [{metric: exact_match}]
""",
    "choices": """
output_type: multiple_choice
doc_to_text: "w1 w2 {{question}}"
doc_to_choice: ["w3", "w4 w5", "w6 w7 w8"]
doc_to_target: "{{gold}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "last_word": """
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: " {{answer}}"
metric_list:
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
  - {metric: acc, aggregation: mean, higher_is_better: true}
""",
    "text": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list:
  - {metric: word_perplexity, higher_is_better: false}
""",
}


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    for split, count, shift in (("train", 4, 50), ("validation", 6, 20), ("test", 9, 0)):
        rows = [
            {
                "question": " ".join(f"w{(i * 7 + j * 3 + shift) % 60}" for j in range(4 + i % 5)),
                "answer": f"w{(i + shift) % 60}",
                "gold": i % 3,
            }
            for i in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    for name, text in TASKS.items():
        common = COMMON.format(folder=folder)
        for key in ("doc_to_target", "fewshot_config"):
            if f"{key}:" in text:
                common = "\n".join(x for x in common.splitlines() if not x.startswith(f"{key}:"))
        (folder / f"{name}.yaml").write_text(f"task: tiny_{name}\n{common}\n{text}")
    (folder / "group.yaml").write_text(
        "group: tiny_group\ntask: [tiny_words, tiny_choices]\n"
        "aggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
    )
    return folder


@pytest.fixture(scope="session")
def managers() -> Callable[..., Any]:
    """Return ``task_manager``, which reads thousands of files, with a memory."""
    known: dict[str, Any] = {}

    def remember(include_path: str | None, metadata: Any) -> Any:
        if str(include_path) not in known:
            known[str(include_path)] = task_manager(include_path, metadata)
        return known[str(include_path)]

    return remember


@pytest.fixture
def fast_tasks(managers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the tasks' files once in all tests that ask for this."""
    monkeypatch.setattr(sweep_flow, "task_manager", managers)
    monkeypatch.setattr(trace_flow, "task_manager", managers)
