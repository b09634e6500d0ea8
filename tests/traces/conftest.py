"""Traces of tiny models on tiny tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trace_words import DOCUMENTS, words

from lm_eval_lora_boundary.harness.tasks import task_manager
from lm_eval_lora_boundary.traces import run as flow
from lm_eval_lora_boundary.traces.api import trace

COMMON = """
dataset_path: json
dataset_kwargs:
  data_files: {{train: {folder}/train.jsonl, validation: {folder}/rows.jsonl}}
training_split: train
validation_split: validation
fewshot_split: train
fewshot_config: {{sampler: first_n}}
"""
TASKS = {
    "words": """
output_type: generate_until
doc_to_text: "w1 w2 {{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["w9"], max_gen_toks: 10}
metric_list: [{metric: exact_match}]
""",
    "prefix": """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
gen_prefix: "w50"
target_delimiter: " w51 "
generation_kwargs: {until: ["w9"], max_gen_toks: 10}
metric_list: [{metric: exact_match}]
""",
    "choices": """
output_type: multiple_choice
doc_to_text: "w1 {{question}}"
doc_to_choice: ["w3", "w4 w5", "w6 w7 w8"]
doc_to_target: "{{gold}}"
metric_list: [{metric: acc}, {metric: acc_mutual_info}]
""",
    # as WinoGrande: the choices are in the prompt, and the same words follow each
    "contexts": """
output_type: multiple_choice
doc_to_text: "gold"
doc_to_choice: "{{[question ~ ' w3', question ~ ' w4', question ~ ' w5']}}"
doc_to_target: "w6 w7"
metric_list: [{metric: acc}]
""",
    "last_word": """
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: " {{answer}}"
metric_list:
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
""",
    "text": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list:
  - {metric: word_perplexity, higher_is_better: false}
""",
    "silent": """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: " "
generation_kwargs: {until: ["w9"], max_gen_toks: 10}
metric_list: [{metric: exact_match}]
""",
}


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    for split, shift in (("train", 11), ("rows", 0)):
        rows = [
            {
                "question": words(3 + 4 * (i % 3), i + shift),
                "answer": words(1 + i % 3, 2 * i + shift),
                "gold": i % 3,
            }
            for i in range(DOCUMENTS)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    write_tasks(folder)
    return folder


def write_tasks(folder: Path) -> None:
    for name, text in TASKS.items():
        common = COMMON.format(folder=folder)
        (folder / f"{name}.yaml").write_text(f"task: tiny_{name}\n{common}\n{text}")


@pytest.fixture(scope="session")
def managers() -> Callable[..., Any]:
    """Return ``task_manager``, which reads thousands of files, with a memory."""
    known: dict[str, Any] = {}

    def remember(include_path: str, metadata: Any) -> Any:
        if include_path not in known:
            known[include_path] = task_manager(include_path, metadata)
        return known[include_path]

    return remember


@pytest.fixture
def run(
    tiny: Any,
    task_folder: Path,
    tmp_path: Path,
    managers: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., dict[str, Any]]:
    """Trace a tiny model; the files are in ``tmp_path/out``."""
    monkeypatch.setattr(flow, "task_manager", managers)

    def run(tasks: str = "tiny_words", **settings: Any) -> dict[str, Any]:
        base, adapter = tiny(settings.pop("architecture", "llama"))
        defaults: dict[str, Any] = {
            "include_path": str(task_folder),
            "dtype": "float32",
            "device": "cpu",
            "batch_size": 3,
        }
        given = defaults | settings
        return trace(str(base), adapter, tasks, given.pop("output", tmp_path / "out"), **given)

    return run
