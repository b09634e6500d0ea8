"""Sweeps and traces of a user's own rows: the same numbers as lm-eval's, and no row trained on."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from command_line import command_line
from lm_eval.tasks import TaskManager
from model_helpers import make
from tiny_models import tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_eval_lora_boundary import sweep, trace
from lm_eval_lora_boundary.errors import LoraBoundaryError, ModelError, TaskError
from lm_eval_lora_boundary.harness.own_data.splits import read_rows, row_id
from lm_eval_lora_boundary.sweeps.settings import SweepSettings
from lm_eval_lora_boundary.sweeps.write_task import write

ENDS = "{% for m in messages %}w50 {{ m.role }} {{ m.content }} w51 {% endfor %}w50 "
PROMPTS = [
    {"prompt": f"w{i} w{3 * i % 60} w7", "response": f"w{i % 4} w9", "customer": i // 8}
    for i in range(16)
]
CHATS = [
    {
        "messages": [
            {"role": "system", "content": "w11"},
            {"role": "user", "content": f"w{i}"},
            {"role": "assistant", "content": "w12"},
            {"role": "user", "content": f"w{3 * i % 60}"},
            {"role": "assistant", "content": f"w{i % 4} w9"},
        ]
    }
    for i in range(16)
]
ROWS = {"prompts": PROMPTS, "chats": CHATS}


@pytest.fixture(scope="module")
def models(
    tiny: Callable[..., tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Return a base model whose tokenizer has a chat template, and an adapter."""
    base, adapter = tiny()
    folder = tmp_path_factory.mktemp("chat")
    shutil.copytree(base, folder / "base")
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["w51"]})
    tokenizer.chat_template = ENDS
    tokenizer.save_pretrained(folder / "base")
    return folder / "base", Path(shutil.copytree(adapter, folder / "adapter"))


@pytest.fixture
def options(models: tuple[Path, Path], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that writes rows, and returns the arguments of a run on them."""

    def options(rows: Any = PROMPTS, **more: Any) -> dict[str, Any]:
        data = tmp_path / "tickets.jsonl"
        data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        base, adapter = map(str, models)
        named = {"pretrained": base, "peft": adapter, "data": str(data)}
        return named | {"dtype": "float32", "device": "cpu"} | more

    return options


def samples(folder: Path) -> list[dict[str, Any]]:
    (file,) = folder.glob("samples_tickets_*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("kind", ROWS)
def test_the_written_task_has_the_same_prompts_and_numbers(
    kind: str, options: Any, models: tuple[Path, Path], tmp_path: Path
) -> None:
    asked = options(ROWS[kind])
    found = sweep(output=tmp_path / "out", boundaries=[1], split="test", **asked)
    settings = SweepSettings(**asked, apply_chat_template=kind == "chats")
    written = write(settings, tmp_path / "task")
    assert ("--apply_chat_template" in written) == (kind == "chats")
    moved = shutil.move(tmp_path / "task", tmp_path / "elsewhere")  # it names no other file
    rows = {row["boundary"]: row for row in found["tasks"]["tickets"]["boundaries"]}
    for boundary in (-1, 1):
        results = lm_eval.simple_evaluate(
            make(*models, boundary=boundary),
            tasks=["tickets"],
            task_manager=TaskManager(include_path=moved, include_defaults=False),
            apply_chat_template=kind == "chats",
            bootstrap_iters=0,
        )
        ours, theirs = samples(tmp_path / f"out/boundary={boundary}"), results["samples"]["tickets"]
        assert [each["prompt_hash"] for each in ours] == [each["prompt_hash"] for each in theirs]
        for mine, their in zip(ours, theirs, strict=True):
            assert mine["resps"][0] == their["resps"][0]
            assert mine["loglikelihood"] == pytest.approx(their["loglikelihood"], abs=1e-4)
        metrics = results["results"]["tickets"]
        for name in ("exact_match,none", "loglikelihood,none"):
            assert rows[boundary]["metrics"][name] == pytest.approx(metrics[name], abs=1e-4)


def test_turns_go_through_the_template_once_and_the_gold_is_scored_after_them(
    options: Any, models: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "lm_eval.lora_boundary"):
        sweep(output=tmp_path / "out", boundaries=[-1], split="test", **options(CHATS))
    tokenizer = AutoTokenizer.from_pretrained(models[0])
    model = AutoModelForCausalLM.from_pretrained(models[0], dtype=torch.float32)
    turns = {row["messages"][1]["content"]: row["messages"] for row in CHATS}
    answered = samples(tmp_path / "out/boundary=-1")
    for sample in answered:
        *before, gold = turns[sample["doc"]["messages"][1]["content"]]
        prompt = tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True)
        first, second = sample["arguments"].values()
        assert first["arg_0"] == second["arg_0"] == prompt
        assert first["arg_1"]["until"] == ["w51"]  # the end of the turn
        assert second["arg_1"] == gold["content"]
        tokens = tokenizer(prompt + gold["content"], return_tensors="pt").input_ids
        start = len(tokenizer(prompt).input_ids)
        with torch.no_grad():
            scores = model(tokens).logits[0].log_softmax(-1)
        by_hand = sum(scores[i - 1, tokens[0, i]].item() for i in range(start, tokens.shape[1]))
        assert sample["loglikelihood"] == pytest.approx(by_hand, abs=1e-4)
    prompt = answered[0]["arguments"]["gen_args_0"]["arg_0"]
    assert f"  | {prompt.strip()}" in caplog.text
    assert "16 rows, " in caplog.text and "(by a hash of the prompt)" in caplog.text
    assert "note: nothing says which rows the adapter was trained on" in caplog.text


def test_changed_rows_get_new_answers(options: Any, tmp_path: Path) -> None:
    before = sweep(output=tmp_path / "out", boundaries=[1], **options())
    rows = [row | {"prompt": row["prompt"] + " w8"} if i % 3 else row | {"response": "w3"}
            for i, row in enumerate(PROMPTS)]  # fmt: skip
    after = sweep(output=tmp_path / "out", boundaries=[1], **options(rows))
    fresh = sweep(output=tmp_path / "new", boundaries=[1], **options(rows))
    assert after == fresh and after["signature"] != before["signature"]
    assert after["data"]["sha256"] != before["data"]["sha256"]
    assert after["data"]["sha256"][:12] in after["signature"]


def test_the_log_likelihood_is_compared_whatever_the_metric(options: Any, tmp_path: Path) -> None:
    entry = sweep(output=tmp_path / "out", boundaries=[1], **options())["tasks"]["tickets"]
    assert entry["metric"] == "exact_match,none"
    answer = entry["answers"]["loses_likelihood"]
    whole, cut = (
        {each["doc_id"]: each["loglikelihood"] for each in samples(tmp_path / f"out/boundary={k}")}
        for k in (3, answer["cut"])
    )
    difference = sum(cut[each] - whole[each] for each in whole) / len(whole)
    assert answer["cut"] == 1  # neither the base model nor the whole adapter
    rows = {row["boundary"]: row for row in entry["likelihood"]["boundaries"]}
    assert rows[answer["cut"]]["delta_full"] == pytest.approx(difference)
    if entry["test"] is None:
        assert answer["value"] == pytest.approx(difference)
    chosen = sweep(output=tmp_path / "b", boundaries=[1], metric="loglikelihood", **options())
    entry = chosen["tasks"]["tickets"]
    assert entry["metric"] == "loglikelihood,none" and "likelihood" not in entry
    assert {row["boundary"]: row["value"] for row in entry["boundaries"]} == {
        name: row["value"] for name, row in rows.items()
    }


def test_rows_of_the_training_are_left_out_and_its_prompt_is_used(
    options: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = options()
    rows = read_rows(asked["data"])
    seen = rows.rows[:6]
    record: dict[str, Any] = {
        "settings": {"data": asked["data"], "apply_chat_template": True, "num_fewshot": None},
        "data": {"rows": " ".join(map(row_id, seen))},
    }
    adapter = Path(shutil.copytree(asked["peft"], tmp_path / "adapter"))
    (adapter / "training.json").write_text(json.dumps(record))
    asked |= {"peft": str(adapter), "data": None}  # from training.json
    with caplog.at_level(logging.INFO, "lm_eval.lora_boundary"):
        found = sweep(output=tmp_path / "out", boundaries=[-1], **asked)
    assert f"as in {adapter / 'training.json'}: data {rows.path}, a chat template" in caplog.text
    assert found["settings"]["apply_chat_template"] is True and found["data"]["left_out"] == 6
    assert all(note["kind"] != "unknown_rows" for note in found["notes"])
    prompts = {row.prompt for row in seen}
    for folder in (tmp_path / "out/boundary=-1", tmp_path / "out/test/tickets/boundary=-1"):
        if folder.is_dir():
            assert not prompts & {each["doc"]["prompt"] for each in samples(folder)}
    traced = trace(output=tmp_path / "trace", **asked, apply_chat_template=False)
    assert traced["settings"]["apply_chat_template"] is False
    assert traced["settings"]["no_template"] is True  # so that the command can be given again
    assert traced["data"] == found["data"]
    record["data"]["rows"] = " ".join(map(row_id, rows.rows))
    (adapter / "training.json").write_text(json.dumps(record))
    with pytest.raises(TaskError, match="all 16 rows are rows that the adapter was trained on"):
        sweep(output=tmp_path / "out", **asked)


def test_a_trace_reads_the_gold_answers(options: Any, tmp_path: Path) -> None:
    trace(output=tmp_path / "out", **options(split="test"))
    sweep(output=tmp_path / "out", boundaries=[-1], **options(split="test"))
    lines = (tmp_path / "out/trace_documents_tickets.jsonl").read_text().splitlines()
    traced = [json.loads(line) for line in lines]
    answered = samples(tmp_path / "out/boundary=3")
    assert [each["doc_hash"] for each in traced] == [each["doc_hash"] for each in answered]
    for line, sample in zip(traced, answered, strict=True):
        assert " ".join(line["tokens"]) == sample["target"].strip()


def test_without_texts_no_file_holds_one_but_the_stored_answers(
    options: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row | {"prompt": f"{row['prompt']} w59", "response": "w58"} for row in PROMPTS]
    asked = options(rows, boundaries=[1])
    with caplog.at_level(logging.INFO, "lm_eval.lora_boundary"):
        found = sweep(output=tmp_path / "out", no_texts=True, candidates="all", **asked)
    asked.pop("boundaries")
    trace(output=tmp_path / "out", no_texts=True, **asked)
    page = (tmp_path / "out/report.html").read_text()
    assert "holds no prompts and answers" in page and "Documents</h3>" not in page
    files = [each for each in (tmp_path / "out").rglob("*") if each.is_file()]
    texts = [each for each in files if b"w58" in each.read_bytes() or b"w59" in each.read_bytes()]
    assert {each.name for each in texts} <= {"answers.sqlite", "answers.sqlite-wal"}
    assert len(files) > 20 and "w59" not in caplog.text
    assert command_line("compare", str(tmp_path / "out")).code == 0
    other = sweep(output=tmp_path / "full", **asked, boundaries=[1])
    assert other["tasks"] == found["tasks"]  # the same numbers
    assert "holds all prompts and answers" in (tmp_path / "full/report.html").read_text()


def test_a_metric_of_ones_own(options: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text("def first(response, gold):\n    return response[:1] == gold[:1]\n")
    asked = options(boundaries=[1], metric=f"{path}:first", split="test", cluster="customer")
    found = sweep(output=tmp_path / "out", **asked)
    assert found["tasks"]["tickets"]["clusters"]["field"] == "customer"
    assert found["tasks"]["tickets"]["metric"] == "first,none"
    for sample in samples(tmp_path / "out/boundary=1"):
        response = sample["resps"][0][0].strip()
        assert sample["first"] == float(response[:1] == sample["target"].strip()[:1])
    write(SweepSettings(**asked | {"boundaries": "1"}), tmp_path / "task")
    manager = TaskManager(include_path=str(tmp_path / "task"), include_defaults=False)
    assert set(manager.load("tickets")["tasks"]["tickets"].aggregation()) == {
        *("first", "exact_match", "loglikelihood")
    }
    signature = found["signature"]
    path.write_text("def first(response, gold):\n    return 1\n")
    assert sweep(output=tmp_path / "out", **asked)["signature"] != signature


def test_what_does_not_fit_is_refused(
    options: Any, tiny: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    asked, chats = options(), None

    def refused(error: type[Exception], says: str, **more: Any) -> None:
        with pytest.raises(error, match=says):
            sweep(output=tmp_path / "out", **{**(chats or asked), **more})

    refused(LoraBoundaryError, "are both given; give one", tasks="tiny_words")
    refused(LoraBoundaryError, "neither tasks nor data is given.*give --tasks TASK", data=None)
    refused(LoraBoundaryError, "rows hold their whole prompts", num_fewshot=2)
    refused(LoraBoundaryError, "is a function of your own", data=None, tasks="a", metric="a.py:b")
    chats = options(CHATS)
    refused(TaskError, "holds chats, whose turns only a chat", apply_chat_template=False)
    refused(TaskError, "line 1: has a system turn of its own", system_instruction="w1")
    refused(ModelError, "has no chat template; leave", pretrained=str(tiny()[0]))
    with pytest.raises(LoraBoundaryError, match="output is not given"):
        sweep(**asked)
