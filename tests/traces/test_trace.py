"""Traces of tiny models, against lm-eval's own scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval.tasks import TaskManager
from model_helpers import make
from tiny_models import ARCHITECTURES, LAYERS
from tiny_tasks import made_row
from trace_helpers import DOCUMENTS, Run, Tiny, lines
from typer.testing import CliRunner

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.cli import trace as command
from lm_eval_lora_boundary.errors import (
    ModelError,
)
from lm_eval_lora_boundary.traces.api import trace
from lm_eval_lora_boundary.traces.lm import TraceLM
from lm_eval_lora_boundary.traces.reader import Reader
from lm_eval_lora_boundary.upstream.lm_eval import request

TASKS = ["tiny_words", "tiny_prefix", "tiny_mutual", "tiny_contexts", "tiny_last_word"]


def gold_texts(task: str, num_fewshot: int) -> list[tuple[str, str]]:
    """Return prompt and gold answer of every document, built independently of lm-eval."""

    def texts(split: str, i: int) -> tuple[str, str]:
        question, answer, gold = made_row(split, i).values()
        choice = ["w3", "w4 w5", "w6 w7 w8"][gold]
        return {
            "tiny_words": (f"w1 w2 {question}", f" {answer}"),
            "tiny_prefix": (f"{question} w51 w50", f" {answer}"),
            "tiny_mutual": (f"w1 {question}", f" {choice}"),
            "tiny_contexts": (f"{question} w{3 + gold}", " w6 w7"),
            "tiny_last_word": (question, f" {answer}"),
        }[task]

    examples = "".join(f"{''.join(texts('train', i))}\n\n" for i in range(num_fewshot))
    pairs = [texts("validation", i) for i in range(DOCUMENTS)]
    return [(examples + prompt, answer) for prompt, answer in pairs]


@pytest.mark.parametrize(
    ("task", "num_fewshot"),
    [(task, 0) for task in TASKS] + [("tiny_words", 2), ("tiny_mutual", 1)],
)
def test_the_last_layer_agrees_with_lm_evals_scores(
    task: str, num_fewshot: int, run: Run, tiny: Tiny, tmp_path: Path
) -> None:
    keep = ["0+3", "all@0.5"]
    found = run(task, num_fewshot=num_fewshot, boundaries=[1, 2], keep=keep)
    entry = found["tasks"][task]
    assert (entry["documents"], set(entry["skipped"].values())) == (DOCUMENTS, {0})
    others = ["boundary=1", "boundary=2", "keep=0+3", "keep=all@0.5"]
    assert list(entry["models"]) == ["full", "base", *others]
    documents = lines(tmp_path / "out", task)
    assert [document["doc_id"] for document in documents] == list(range(DOCUMENTS))
    requests = [
        request("loglikelihood", pair, i) for i, pair in enumerate(gold_texts(task, num_fewshot))
    ]
    for cut, label in (
        ({"boundary": LAYERS - 1}, "full"),
        ({"boundary": -1}, "base"),
        ({"boundary": 1}, "boundary=1"),
        *(({"keep": each}, f"keep={each}") for each in keep),
    ):
        lm = make(*tiny(), LoraBoundaryLM, **cut)
        scores = lm.loglikelihood(requests, disable_tqdm=True)
        for document, asked, (score, greedy) in zip(documents, requests, scores, strict=True):
            model = document["models"][label]
            assert document["tokens"] == asked.args[1].split()
            assert sum(model["logprob"][-1]) == pytest.approx(score, abs=2e-4)
            assert (set(model["rank"][-1]) == {0}) == greedy


def test_settings_are_recorded_sorted_by_name(run: Run) -> None:
    recorded = run("tiny_words")["settings"]
    assert list(recorded) == sorted(recorded)
    shared = {"pretrained", "peft", "tasks", "split", "limit", "batch_size", "dtype", "device"}
    prompts = {"num_fewshot", "apply_chat_template", "fewshot_as_multiturn", "system_instruction"}
    own = {
        "boundaries",
        "keep",
        "document",
        "gradient",
        "measure",
        "model_args",
        "include_path",
        "data",
    }
    assert recorded.keys() == shared | prompts | own | {"no_texts", "no_template"}


def test_statistics_are_those_of_the_documents(run: Run, tmp_path: Path) -> None:
    found = run("tiny_words", boundaries="1")
    assert json.loads((tmp_path / "out/trace.json").read_text()) == found
    entry = found["tasks"]["tiny_words"]
    assert entry["layers"] == entry["models"]["full"]
    documents = lines(tmp_path / "out", "tiny_words")
    for label, rows in entry["models"].items():
        assert [row["layer"] for row in rows] == list(range(LAYERS))
        for row in rows:
            readings = [
                {name: values[row["layer"]] for name, values in document["models"][label].items()}
                for document in documents
            ]
            whole = [np.mean(reading["probability"]) for reading in readings]
            first = [reading["probability"][0] for reading in readings]
            expected = {
                "mean": np.mean(whole),
                "median": np.median(whole),
                "q25": np.percentile(whole, 25),
                "q75": np.percentile(whole, 75),
                "first_mean": np.mean(first),
                "first_median": np.median(first),
                "first_q25": np.percentile(first, 25),
                "first_q75": np.percentile(first, 75),
                "logprob_mean": np.mean([np.mean(reading["logprob"]) for reading in readings]),
                "rank_median": np.median([np.median(reading["rank"]) for reading in readings]),
            }
            assert row.keys() == {"layer", *expected}
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, rel=1e-4), (label, name)
            for reading in readings:
                np.testing.assert_allclose(
                    np.exp(reading["logprob"]), reading["probability"], rtol=1e-4
                )
    assert {"candidate", "candidate_low", "candidate_high", "share"} <= entry.keys()
    assert entry["verdict"]
    assert "adapter" in found["signature"] and found["settings"]["boundaries"] == "1"


def test_hashes_are_those_of_lm_evals_samples(
    run: Run, tiny: Tiny, task_folder: Path, tmp_path: Path
) -> None:
    import lm_eval

    run("tiny_words", split="test")
    manager = TaskManager(include_path=str(task_folder))
    results = lm_eval.simple_evaluate(
        make(*tiny()), tasks=["tiny_words"], task_manager=manager, bootstrap_iters=0
    )
    theirs = {s["doc_id"]: s["doc_hash"] for s in results["samples"]["tiny_words"]}
    ours = {d["doc_id"]: d["doc_hash"] for d in lines(tmp_path / "out", "tiny_words")}
    assert ours == theirs


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_is_traced(architecture: str, run: Run, tiny: Tiny) -> None:
    # transformers would choose a tokenizer class by architecture and split words into bytes
    tokenizer = str(tiny("llama")[0])
    found = run(
        "tiny_choices",
        architecture=architecture,
        limit=3,
        boundaries="1",
        model_args={"tokenizer": tokenizer},
    )
    models = found["tasks"]["tiny_choices"]["models"]
    assert all(0 < row["mean"] < 1 for rows in models.values() for row in rows)
    full, cut, base = (
        [row["logprob_mean"] for row in models[name]] for name in ("full", "boundary=1", "base")
    )
    if architecture != "opt":  # there, the adapter changes the projection before the head too
        assert cut[:2] == pytest.approx(full[:2], abs=1e-4)
    assert cut[3] != pytest.approx(full[3], abs=1e-4)
    assert base[0] != pytest.approx(full[0], abs=1e-4)


def test_chat_and_system_message_reach_the_model(
    run: Run, monkeypatch: pytest.MonkeyPatch, tiny: Tiny, tmp_path: Path
) -> None:
    seen: list[str] = []
    read = Reader.read

    def note(self: Reader, documents: Any, *args: Any) -> Any:
        decode = self._lm.tokenizer.decode
        seen.extend(f"{decode(each.context)} | {decode(each.answer)}" for each in documents)
        return read(self, documents, *args)

    monkeypatch.setattr(Reader, "read", note)
    run("tiny_words", limit=1, system_instruction="w20 w21 ")
    question, answer, _ = made_row("validation", 0).values()
    assert seen[-1] == f"w20 w21 w1 w2 {question} | {answer}"
    with pytest.raises(ModelError, match="no chat template"):
        run("tiny_words", apply_chat_template=True, force=True)
    template = "{% for m in messages %}w30 {{ m.content }} {% endfor %}w31"
    load = TraceLM.__init__

    def with_template(self: TraceLM, *args: Any, **kwargs: Any) -> None:
        load(self, *args, **kwargs)
        self.tokenizer.chat_template = template

    monkeypatch.setattr(TraceLM, "__init__", with_template)
    run("tiny_words", limit=1, num_fewshot=1, apply_chat_template=True, force=True)
    example = made_row("train", 0)
    shot = f"w30 w1 w2 {example['question']} w30 {example['answer']} "
    assert seen[-1] == f"{shot}w30 w1 w2 {question} w31 | {answer}"


def test_plots_show_the_requested_document_and_are_the_same_every_time(
    run: Run, tmp_path: Path
) -> None:
    run("tiny_words", boundaries="1", document=5)
    plots = tmp_path / "out/plots/tiny_words"
    first = {path.name: path.read_bytes() for path in plots.iterdir()}
    assert set(first) == {f"{n}.{e}" for n in ("trace", "trace_heatmap") for e in ("png", "svg")}
    run("tiny_words", boundaries="1", document=5)
    assert {path.name: path.read_bytes() for path in plots.iterdir()} == first
    run("tiny_words", boundaries="1", document=2)
    assert (plots / "trace_heatmap.svg").read_bytes() != first["trace_heatmap.svg"]
    assert (plots / "trace.svg").read_bytes() == first["trace.svg"]


def test_a_loaded_model_gives_the_same_as_its_folder(
    run: Run, tiny: Tiny, task_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    base, adapter = tiny()
    expected = run("tiny_words")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    found = trace(
        model,
        adapter,
        "tiny_words",
        tmp_path / "loaded",
        include_path=str(task_folder),
        device="cpu",
        batch_size=3,
    )
    assert found["tasks"] == expected["tasks"]


def test_the_command_writes_the_files_and_prints_the_verdict(
    tiny: Tiny, task_folder: Path, tmp_path: Path
) -> None:
    import typer

    app = typer.Typer()
    app.command()(command)
    base, adapter = map(str, tiny())
    arguments = [
        *("--pretrained", base, "--peft", adapter, "--tasks", "tiny_words,tiny_choices"),
        *("--output", str(tmp_path / "out"), "--include-path", str(task_folder)),
        *("--boundaries", "0,2", "--limit", "4", "--batch-size", "2", "--dtype", "float32"),
        *("--device", "cpu", "--split", "validation", "--document", "1"),
    ]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    written = json.loads((tmp_path / "out/trace.json").read_text())
    for task, entry in written["tasks"].items():
        assert f"{task}: {entry['verdict']}" in done.output
        assert entry["documents"] == 4
        assert list(entry["models"]) == ["full", "base", "boundary=0", "boundary=2"]
