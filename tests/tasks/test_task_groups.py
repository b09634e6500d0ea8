"""The groups: their members, and the numbers that lm-eval aggregates."""

from __future__ import annotations

import json
import logging
from statistics import mean

import pytest
import second_metrics as second
from lm_eval.loggers import EvaluationTracker
from sacrebleu.dataset import DATASETS
from task_helpers import ScriptedLM, evaluate, needs_official

PAIRS = [f"lora_boundary_wmt23_{pair}" for pair in sorted(DATASETS["wmt23"].langpairs)]
FOUR = [f"lora_boundary_wmt23_{pair}" for pair in ("de-en", "en-de", "en-zh", "zh-en")]
SINGLE = ["lora_boundary_hotpotqa", "lora_boundary_gsm8k", "lora_boundary_samsum"]


def answer(doc):
    """Return the reference or a worse text, by document."""
    reference = next(doc[key] for key in ("reference", "summary", "answer") if key in doc)
    return second.perturb(reference, sum(map(ord, reference)), "Some other text.")


def assert_aggregates(results, groups):
    """Check that every metric of a group is the plain mean over its tasks."""
    assert set(results["groups"]) == set(groups)
    for group, (leaves, metrics) in groups.items():
        row = results["groups"][group]
        assert {key for key in row if key.endswith(",none") and "stderr" not in key} == {
            f"{metric},none" for metric in metrics
        }
        for metric in metrics:
            key = f"{metric},none"
            assert row[key] == pytest.approx(mean(results["results"][leaf][key] for leaf in leaves))
        assert row["sample_len"] == sum(results["results"][leaf]["sample_len"] for leaf in leaves)


LENGTHS = ("length_ratio", "length_ratio_corpus")
CORPUS = ("bleu", "chrf", *LENGTHS)
DEFAULT = {
    "lora_boundary": (SINGLE + FOUR, LENGTHS),
    "lora_boundary_wmt23": (FOUR, CORPUS),
}


def test_default_group(made_up, caplog):
    with caplog.at_level(logging.WARNING):
        results = evaluate(ScriptedLM(answer), "lora_boundary")
    assert results["group_subtasks"] == {
        "lora_boundary": [*SINGLE, "lora_boundary_wmt23"],
        "lora_boundary_wmt23": FOUR,
    }
    assert_aggregates(results, DEFAULT)
    # lm-eval logs this for every task with a custom_dataset, and 0.5 this for metrics of their own
    expected = ("Custom kwargs can be passed", "not found in registry")
    warnings = [record for record in caplog.records if record.name.startswith("lm_eval")]
    assert all(any(text in record.message for text in expected) for record in warnings)


def test_numbers_of_each_task(made_up):
    """Results equal those of the second implementation on the logged samples."""
    results = evaluate(ScriptedLM(answer), "lora_boundary", num_fewshot=1, apply_chat_template=True)

    def samples(name):
        return [
            (sample["target"], sample["resps"][0][0])
            for sample in results["samples"][name]
            if sample["filter"] in ("none", "strict-match")
        ]

    expected = {
        "hotpotqa": {
            "exact_match": second.exact_match,
            "f1": second.f1,
            "subspan_em": second.subspan_em,
            "best_subspan_em": second.best_subspan_em,
        },
        "samsum": {
            "rouge1": lambda a, b: second.rouge_n(a, b, 1),
            "rouge2": lambda a, b: second.rouge_n(a, b, 2),
            "rougeL": second.rouge_l,
            "rougeLsum": second.rouge_lsum,
        },
    }
    for name, metrics in expected.items():
        row = results["results"][f"lora_boundary_{name}"]
        for metric, function in metrics.items():
            value = mean(function(got, gold) for gold, got in samples(f"lora_boundary_{name}"))
            assert row[f"{metric},none"] == pytest.approx(value)
    for name in FOUR:
        row = results["results"][name]
        assert row["chrf,none"] == pytest.approx(second.chrf(samples(name)))
        if not name.endswith("zh"):
            assert row["bleu,none"] == pytest.approx(second.bleu_13a(samples(name)))


def test_all_pairs(made_up):
    results = evaluate(ScriptedLM(answer), "lora_boundary_wmt23_all")
    assert results["group_subtasks"] == {"lora_boundary_wmt23_all": PAIRS}
    assert_aggregates(results, {"lora_boundary_wmt23_all": (PAIRS, CORPUS)})


def test_files_of_lm_eval(made_up, tmp_path):
    tracker = EvaluationTracker(output_path=str(tmp_path))
    results = evaluate("dummy", "lora_boundary", limit=3, evaluation_tracker=tracker)
    samples = results.pop("samples")
    tracker.save_results_aggregated(results, samples)
    for name, rows in samples.items():
        tracker.save_results_samples(name, rows)
    (file,) = tmp_path.rglob("results_*.json")
    written = json.loads(file.read_text())
    assert_aggregates(written, DEFAULT)
    gsm8k = written["results"]["lora_boundary_gsm8k"]
    assert gsm8k["exact_match,strict-match"] == gsm8k["exact_match,flexible-extract"] == 0
    for name, rows in samples.items():
        (file,) = tmp_path.rglob(f"samples_{name}_*.jsonl")
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert len(lines) == len(rows) == (9 if name == "lora_boundary_gsm8k" else 3)
        assert all(line["resps"] == [["lol"]] for line in lines)
        assert all(metric in line for line in lines for metric in line["metrics"])


@needs_official
def test_default_group_on_official_rows(official):
    results = evaluate(ScriptedLM(answer), "lora_boundary", limit=60, num_fewshot=2)
    assert_aggregates(results, DEFAULT)
    for name in SINGLE + FOUR:
        values = [v for k, v in results["results"][name].items() if "," in k and "stderr" not in k]
        assert all(value > 0 for value in values)
