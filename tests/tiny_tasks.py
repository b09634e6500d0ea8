"""Small lm-eval tasks over made-up rows, in the words of the tiny tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lm_eval.api.task import ConfigurableTask, Task

# number of rows, and where their words start
SPLITS = {"train": (4, 50), "validation": (6, 20), "test": (9, 0)}
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
# in 0.5, the prompts are the texts, and the target is the number of one
_PROMPTS = "{{[question ~ ' w3', question ~ ' w4', question ~ ' w5']}}"
_CONTEXTS = (
    f'multiple_inputs: true\ndoc_to_text: "{_PROMPTS}"\ndoc_to_choice: [w6 w7]\ndoc_to_target: gold'
    if ConfigurableTask is Task
    else f'doc_to_text: gold\ndoc_to_choice: "{_PROMPTS}"\ndoc_to_target: w6 w7'
)
# 0.5 takes the pair of texts that BLEU is computed from for the values of two responses, and fails
# to choose one; docs/upstream/lm_eval_next_corpus_metrics.py shows it. This keeps the pair.
CORPUS_METRICS = """
from lm_eval_lora_boundary.harness.task_metrics import bleu, chrf

def pair(references, values):
    (reference,), (response,) = values
    return reference, response
"""


def corpus_metric(name: str) -> str:
    """Return the entry of ``bleu`` or ``chrf`` in a task's list of metrics.

    ``CORPUS_METRICS`` must be in ``corpus_metrics.py`` in the task's folder.
    """
    own = (
        f", aggregation: !function corpus_metrics.{name}, reduction: !function corpus_metrics.pair"
    )
    return f"{{metric: {name}{own if ConfigurableTask is Task else ''}}}"


TASKS = {
    "words": f"""
output_type: generate_until
doc_to_text: "w1 w2 {{{{question}}}}"
generation_kwargs: {{until: ["w9"], max_gen_toks: 10}}
metric_list: [{{metric: exact_match}}, {corpus_metric("bleu")}]
""",
    "prefix": """
output_type: generate_until
doc_to_text: "{{question}}"
gen_prefix: "w50"
target_delimiter: " w51 "
generation_kwargs: {until: ["w9"], max_gen_toks: 10}
metric_list: [{metric: exact_match}]
""",
    "silent": """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: " "
generation_kwargs: {until: ["w9"], max_gen_toks: 10}
metric_list: [{metric: exact_match}]
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
    # scores each choice without the prompt as well
    "mutual": """
output_type: multiple_choice
doc_to_text: "w1 {{question}}"
doc_to_choice: ["w3", "w4 w5", "w6 w7 w8"]
doc_to_target: "{{gold}}"
metric_list: [{metric: acc}, {metric: acc_mutual_info}]
""",
    # like WinoGrande: the choices are in the prompt, and the same words follow each of them
    "contexts": f"""
output_type: multiple_choice
{_CONTEXTS}
metric_list: [{{metric: acc}}]
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


def words(count: int, start: int) -> str:
    return " ".join(f"w{(start + 7 * i) % 60}" for i in range(count))


def made_row(split: str, i: int) -> dict[str, Any]:
    """Return a row; questions and answers have different lengths."""
    _, start = SPLITS[split]
    question = " ".join(f"w{(i * 7 + j * 3 + start) % 60}" for j in range(4 + i % 5))
    return {"question": question, "answer": words(1 + i % 3, 2 * i + start), "gold": i % 3}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))


def write_tasks(folder: Path) -> Path:
    """Write the tasks with their rows; return the folder, for ``--include-path``."""
    (folder / "corpus_metrics.py").write_text(CORPUS_METRICS)
    for split, (count, _) in SPLITS.items():
        write_rows(folder / f"{split}.jsonl", [made_row(split, i) for i in range(count)])
    for name, text in TASKS.items():
        own = {line.partition(":")[0] for line in text.splitlines()}
        common = [x for x in COMMON.splitlines() if not x or x.partition(":")[0] not in own]
        lines = "\n".join(common).format(folder=folder)
        (folder / f"{name}.yaml").write_text(f"task: tiny_{name}\n{lines}\n{text}")
    (folder / "group.yaml").write_text(
        "group: tiny_group\ntask: [tiny_words, tiny_choices]\n"
        "aggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
    )
    return folder
