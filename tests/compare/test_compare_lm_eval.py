"""Comparing files that lm-eval and a sweep wrote for tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from model_helpers import make
from tiny_models import LAYERS
from tiny_tasks import CORPUS_METRICS, corpus_metric

from lm_eval_lora_boundary import LoraBoundaryLM, sweep
from lm_eval_lora_boundary.compare import compare

Tiny = Callable[..., tuple[Path, Path]]

TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/rows.jsonl}}}}
test_split: test
doc_to_text: "w1 w2 {{{{question}}}}"
{rest}
"""
TASKS = {
    "made_words": f"""
output_type: generate_until
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["w9"], max_gen_toks: 6}}
metric_list: [{{metric: exact_match}}, {corpus_metric("bleu")}, {corpus_metric("chrf")}]
""",
    "made_choices": """
output_type: multiple_choice
doc_to_choice: ["w3", "w4 w5", "w6 w7 w8"]
doc_to_target: "{{gold}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "made_last_word": """
output_type: loglikelihood
doc_to_target: " {{answer}}"
metric_list: [{metric: perplexity}]
""",
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    rows = [
        {"question": f"w{i} w{i + 3}", "answer": f"w{3 * i % 60}", "gold": i % 3} for i in range(12)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "corpus_metrics.py").write_text(CORPUS_METRICS)
    for name, rest in TASKS.items():
        text = TASK.format(name=name, folder=folder, rest=rest)
        (folder / f"{name}.yaml").write_text(text)
    (folder / "group.yaml").write_text(
        "group: made_group\ntask: [made_choices]\n"
        "aggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
    )
    return folder


@pytest.fixture(scope="module")
def evaluated(
    tiny: Tiny, tasks: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Evaluate three models as lm-eval's command line does; return folders and results."""
    base, adapter = tiny()
    models: dict[str, tuple[type[Any], dict[str, Any]]] = {
        "hf": (HFLM, {"pretrained": str(base)}),
        "none": (LoraBoundaryLM, {"pretrained": str(base), "peft": str(adapter), "boundary": -1}),
        "two": (LoraBoundaryLM, {"pretrained": str(base), "peft": str(adapter), "boundary": 2}),
    }
    evaluations = {}
    for name, (cls, args) in models.items():
        output = tmp_path_factory.mktemp(name)
        tracker = EvaluationTracker(output_path=str(output))
        source = "hf" if cls is HFLM else "lora_boundary"
        results = lm_eval.simple_evaluate(
            make(base, None if cls is HFLM else adapter, cls, **_without(args)),
            tasks=["made_words", "made_last_word", "made_group"],
            task_manager=TaskManager(include_path=str(tasks)),
            bootstrap_iters=100,
        )
        tracker.general_config_tracker.log_experiment_args(
            model_source=source,
            model_args=args,
            system_instruction=None,
            chat_template=None,
            fewshot_as_multiturn=False,
        )
        results["config"] |= {"model": source, "model_args": args}
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        for task, lines in samples.items():
            tracker.save_results_samples(task_name=task, samples=lines)
        evaluations[name] = (output, results)
    return evaluations


def _without(args: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in args.items() if key not in ("pretrained", "peft")}


def by_own_name(results: dict[str, Any]) -> dict[str, Any]:
    """Return the values by task; 0.5 has the group in the name."""
    return {name.rpartition("::")[2]: values for name, values in results["results"].items()}


@pytest.mark.filterwarnings("ignore:.*TypedStorage.*")
def test_results_written_by_lm_eval(evaluated: dict[str, Any]) -> None:
    folders = [folder for folder, _ in evaluated.values()]
    metrics = ["exact_match", "bleu", "chrf", "acc", "acc_norm", "perplexity"]
    comparison = compare(folders, baseline=folders[0], metrics=metrics)
    assert len(comparison.records) == 3 * 7  # acc also for the group
    by_boundary = {None: "hf", -1: "none", 2: "two"}
    for row in comparison.records:
        results = evaluated[by_boundary[row["boundary"]]][1]
        values = by_own_name(results)[row["task"]]
        assert row["value"] == values[f"{row['metric']},{row['filter']}"]
        if row["group"] and row["boundary"] is not None:
            # the group has one task
            (task,) = (
                each
                for each in comparison.records
                if (each["task"], each["metric"], each["boundary"])
                == ("made_choices", "acc", row["boundary"])
            )
            assert row["difference"] == pytest.approx(task["difference"], abs=1e-12)
            assert row["common_documents"] == 12 and row["p_value"] is not None
        if not row["group"]:
            # also for corpus metrics, and for perplexity, which is not a mean
            assert row["interval"] in ("Wilson", "bootstrap"), row
            assert row["low"] <= row["value"] <= row["high"]
    for row in comparison.records:
        # boundary -1 is the base model, so every document scores the same
        if row["boundary"] == -1 and not row["group"]:
            assert abs(row["difference"]) < 1e-4
        if row["boundary"] == 2 and row["metric"] == "perplexity":
            assert row["higher_is_better"] is False
            assert row["difference"] != 0
            assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    kept = {row["boundary"]: row["kept_parameters"] for row in comparison.records}
    assert kept[None] is None
    assert kept[-1] == 0 < kept[2]
    assert not comparison.warnings


def test_sweeps_written_by_sweep(
    evaluated: dict[str, Any], tiny: Tiny, tasks: Path, tmp_path: Path
) -> None:
    base, adapter = tiny()
    settings: dict[str, Any] = {"include_path": str(tasks), "dtype": "float32", "device": "cpu"}
    names = ["made_last_word", "made_choices"]  # all boundaries choose alike
    content = {
        seed: sweep(str(base), adapter, names, tmp_path / seed, batch_size=20, **settings)
        for seed in ("a", "b")
    }
    stability = compare([tmp_path / "a", tmp_path / "b"])
    assert {row["task"] for row in stability.records} == {"made_last_word"}
    for row in stability.records:
        entry = content[row["sweep"]]["tasks"][row["task"]]
        assert row["best"] == entry["best"]
        assert row["layers"] == LAYERS
        assert row["documents"] == 12
        assert row["choice"] == entry["choice"]
        assert row["smallest_noninferior"] == entry.get("smallest_noninferior")
    assert all("no cut was chosen on made_choices" in line for line in stability.warnings)
    assert len(stability.warnings) == 2
    baseline, results = evaluated["hf"]
    comparison = compare([tmp_path / "a"], baseline=baseline, tasks=["made_choices"])
    assert comparison.records[0]["label"] == "base"
    base_row = next(row for row in comparison.records if row["boundary"] == -1)
    assert base_row["value"] == by_own_name(results)["made_choices"]["acc,none"]
    assert base_row["difference"] == 0
    assert base_row["p_value"] == 1
