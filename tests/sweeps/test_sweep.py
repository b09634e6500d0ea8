"""Whole sweeps: lm-eval's numbers and files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.tasks import TaskManager
from model_helpers import make
from tiny_models import LAYERS, grown_adapter, tiny_model, tiny_tokenizer

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.errors import (
    AdapterError,
    BoundaryError,
)

Tiny = Callable[..., tuple[Path, Path]]
TASKS = "tiny_words,tiny_choices,tiny_last_word,tiny_text"


@pytest.mark.parametrize("split", ["validation", "test"])
def test_numbers_and_files_are_those_of_lm_eval(
    split: str, run: Any, tiny: Tiny, task_folder: Path, tmp_path: Path
) -> None:
    options = {"num_fewshot": 2}
    found = run(TASKS, split=split, **options)
    written = json.loads((tmp_path / "out/sweep.json").read_text())
    assert written == found
    assert found["engine"] == "fork"
    manager = TaskManager(include_path=str(task_folder))
    for boundary in (-1, 1, LAYERS - 1):
        lm = make(*tiny(), LoraBoundaryLM, boundary=boundary, batch_size=1)
        loaded = manager.load(TASKS.split(","))
        for task in loaded["tasks"].values():
            task.config.test_split = split
        manager.load = lambda _, loaded=loaded: loaded  # the same split
        expected = lm_eval.simple_evaluate(
            lm, tasks=TASKS.split(","), task_manager=manager, bootstrap_iters=1000, **options
        )
        del manager.load
        folder = tmp_path / f"out/boundary={boundary}"
        (file,) = folder.glob("results_*.json")
        results = json.loads(file.read_text())
        assert results["config"]["boundary"] == boundary
        assert results["config"]["model_args"]["boundary"] == boundary
        for task, metrics in expected["results"].items():
            for key, value in metrics.items():
                # log-likelihoods agree within 1e-4; perplexities are their exponentials
                close = pytest.approx(value, rel=1e-3) if isinstance(value, float) else value
                assert results["results"][task][key] == close, (boundary, task, key)
            (file,) = folder.glob(f"samples_{task}_*.jsonl")
            samples = [json.loads(line) for line in file.read_text().splitlines()]
            assert [sample["doc_hash"] for sample in samples] == [
                sample["doc_hash"] for sample in expected["samples"][task]
            ]
            assert {"resps", "filtered_resps", "arguments", "target"} <= samples[0].keys()
    for task, entry in found["tasks"].items():
        for row in entry["boundaries"]:
            assert row["ci_low"] <= row["delta_full"] <= row["ci_high"], (task, row)
            assert 0 < row["p_value"] <= 1
        assert (entry["split"], entry["documents"]) == (split, {"validation": 6, "test": 9}[split])
        confirmed = split == "validation" and not entry["not_chosen"]
        assert entry["selection"] == ("other documents" if confirmed else "same documents")
        assert [row["boundary"] for row in entry["boundaries"]] == list(range(-1, LAYERS))
        name, _ = entry["metric"].split(",")
        assert (
            name
            == {
                "tiny_words": "exact_match",
                "tiny_choices": "acc",
                "tiny_last_word": "perplexity",
                "tiny_text": "word_perplexity",
            }[task]
        )
        values = [row["value"] for row in entry["boundaries"]]
        best = max(values) if entry["higher_is_better"] else min(values)
        smallest_in_a_tie = values.index(best) - 1
        assert entry["best"] == (LAYERS - 1 if entry["not_chosen"] else smallest_in_a_tie)
        assert bool(entry["not_chosen"]) == (len(set(values)) == 1)
    assert any(not entry["not_chosen"] for entry in found["tasks"].values())


def test_the_best_boundary_is_confirmed_on_documents_not_used_to_choose_it(
    run: Any, tmp_path: Path
) -> None:
    entry = run(metric="bleu")["tasks"]["tiny_words"]
    assert (entry["split"], entry["documents"]) == ("validation", 6)
    test = entry["test"]
    assert (test["split"], test["documents"]) == ("test", 9)
    chosen = sorted({-1, entry["best"], LAYERS - 1})
    assert [row["boundary"] for row in test["boundaries"]] == chosen
    whole = run(split="test", output="test", metric="bleu", boundaries=chosen)["tasks"][
        "tiny_words"
    ]
    for row in whole["boundaries"]:  # only where a choice was made, it may be made again
        assert row.pop("selection_share") is not None
    for row in test["boundaries"]:
        assert row.pop("selection_share") is None
    assert whole["boundaries"] == test["boundaries"]
    assert whole["test"] is None
    folders = {path.name for path in (tmp_path / "out/test/tiny_words").iterdir()}
    assert folders == {f"boundary={boundary}" for boundary in chosen}
    entry = run(output="unconfirmed", confirm=False)["tasks"]["tiny_words"]
    assert (entry["split"], entry["selection"]) == ("validation", "same documents")
    assert entry["test"] is None and not (tmp_path / "unconfirmed/test").exists()


@pytest.mark.filterwarnings("ignore:.*save_embedding_layers.*:UserWarning")
def test_a_base_model_without_rows_for_some_tokens_is_not_confirmed(
    run: Any, tiny: Tiny, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny()[0], tmp_path / "base")
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["new1", "new2", "new3"])
    tokenizer.save_pretrained(base)
    grown_adapter(tmp_path / "grown", tied=False)
    with pytest.raises(AdapterError, match="rows and the output head"):
        run(pretrained=base, peft=tmp_path / "grown")
    found = run(pretrained=base, peft=tmp_path / "grown", boundaries=[LAYERS - 1])
    test = found["tasks"]["tiny_words"]["test"]
    assert [row["boundary"] for row in test["boundaries"]] == [LAYERS - 1]


def test_confirmed_unsafe_code_runs_and_groups_are_reported(run: Any) -> None:
    found = run("tiny_unsafe,tiny_group", confirm_run_unsafe_code=True, boundaries=[-1, 3])
    # 0.5 names the tasks of a group after it
    tasks = {name.removeprefix("tiny_group::"): entry for name, entry in found["tasks"].items()}
    assert tasks.keys() == {"tiny_unsafe", "tiny_words", "tiny_choices"}
    rows = found["groups"]["tiny_group"]["boundaries"]
    assert [row["boundary"] for row in rows] == [-1, 3]
    choices = [row["metrics"]["acc,none"] for row in tasks["tiny_choices"]["boundaries"]]
    assert [row["metrics"]["acc,none"] for row in rows] == choices


def test_auto_reads_what_save_writes(run: Any, tiny: Tiny, tmp_path: Path) -> None:
    base, adapter = tiny()
    copy = shutil.copytree(adapter, tmp_path / "adapter")
    found = run(peft=copy, save=True, metric="bleu", boundaries=[0, 2])
    best = found["tasks"]["tiny_words"]["best"]
    assert make(base, copy, LoraBoundaryLM, boundary="auto").boundary == best
    assert make(base, copy, LoraBoundaryLM, boundary="auto", dtype="bfloat16").boundary == best
    record = json.loads((copy / "lora_boundary.json").read_text())
    assert (record["task"], record["metric"], record["split"]) == (
        "tiny_words",
        "bleu,none",
        "test",
    )
    assert record["ci_low"] <= record["delta_full"] <= record["ci_high"]
    tested = found["tasks"]["tiny_words"]["test"]
    assert record["signature"] == tested["signature"] != found["signature"]
    # it says what it is about, and the rest is the same
    assert " | tasks tiny_words:Yaml:test | " in tested["signature"]
    assert f" | documents {tested['documents']} | " in tested["signature"]
    parts = [set(each["signature"].split(" | ")) for each in (tested, found)]
    assert {part.partition(" ")[0] for part in parts[0] ^ parts[1]} == {"tasks", "documents"}
    other = tiny_model()
    next(other.parameters()).data[0, 0] += 1
    other.save_pretrained(tmp_path / "base")
    for file in base.glob("tokenizer*"):
        shutil.copy(file, tmp_path / "base")
    with pytest.raises(BoundaryError, match="recorded for another base model"):
        make(tmp_path / "base", copy, LoraBoundaryLM, boundary="auto")


@pytest.mark.usefixtures("fast_tasks")
def test_the_signature_names_every_setting_that_was_given(run: Any) -> None:
    plain = run(boundaries=[1], confirm=False)["signature"]
    assert not any(f"| {name} " in plain for name in ("system", "gen_kwargs", "metric", "race"))
    found = run(
        boundaries=[1],
        confirm=False,
        metric="exact_match",
        race=True,
        system_instruction="w1 | base w2 " + 50 * "w3 ",
        gen_kwargs="max_gen_toks=3",
        model_args="max_length=60",
        force=True,
    )
    for part in (
        'system "w1 / base w2 w3 w3',
        "gen_kwargs max_gen_toks=3 | model_args max_length=60",
        "metric exact_match | boundaries 1 | race error rate 0.2 | engine fork",
    ):
        assert f"| {part}" in found["signature"]
    assert max(map(len, found["signature"].split(" | "))) < 120
    other = run(boundaries=[1], confirm=False, system_instruction="w1 " + 49 * "w2 ", force=True)
    another = run(boundaries=[1], confirm=False, system_instruction="w1 " + 50 * "w2 ", force=True)
    assert other["signature"] != another["signature"]  # texts that are shown in part only


@pytest.mark.usefixtures("fast_tasks")
def test_whole_adapter_and_base_are_always_scored(run: Any) -> None:
    entry = run(boundaries=[1], confirm=False)["tasks"]["tiny_words"]
    assert [row["boundary"] for row in entry["boundaries"]] == [-1, 1, LAYERS - 1]
    assert all(row["delta_full"] is not None for row in entry["boundaries"])
    assert all(row["delta_base"] is not None for row in entry["boundaries"])
