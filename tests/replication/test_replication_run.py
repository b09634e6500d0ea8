"""The whole replication on a tiny model, with made-up rows in the hub's layout."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from bytes_model import write_base

from replication.comparing import value
from replication.cuts import NONE, WHOLE
from replication.page import write_page
from replication.plan import CONTROLS, DATA, EARLIER, Plan, Rows
from replication.run import run
from replication.steps import Places
from replication.study import Study

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tasks"))

from task_data import write_hub

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
GSM8K = next(data for data in DATA if data.name == "gsm8k")
PLAN = Plan("a test", (0,), {"gsm8k": Rows(train=16, trace=3, orders=2, choose=3, test=4)})


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A random Llama of four layers."""
    folder = tmp_path_factory.mktemp("base")
    write_base(folder, "llama", num_hidden_layers=4)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, base):
    """Run all steps of one data set and write the page."""
    root = tmp_path_factory.mktemp("replication")
    write_hub(root / "hub")
    places = Places(
        root / "work", root / "docs/replication", ("--pretrained", str(base)), "float32"
    )
    places.work.mkdir()
    written = run(PLAN, places, datasets=[GSM8K], rows=root / "hub")
    write_page(Study(places.records), root / "docs/replication.md")
    return root, places, written


def test_every_step_has_a_record_and_is_not_run_again(finished):
    root, places, written = finished
    expected = ["train", "trace", "orders", "choose", "test"]
    expected += [f"{name}-test" for name in EARLIER]
    expected += [f"{name}-{kind}" for name in CONTROLS for kind in ("train", "test")]
    assert [path.stem for path in written] == expected
    assert run(PLAN, places, datasets=[GSM8K], rows=root / "hub") == []


def test_an_adapter_that_is_gone_is_trained_again(finished):
    root, places, written = finished
    record = next(path for path in written if path.stem == f"{EARLIER[0]}-test")
    before = json.loads(record.read_text("utf-8"))
    record.unlink()
    shutil.rmtree(places.work)
    places.work.mkdir()
    assert run(PLAN, places, datasets=[GSM8K], rows=root / "hub") == [record]
    after = json.loads(record.read_text("utf-8"))
    for content in (before, after):
        del content["time"], content["date"]
    assert after == before


def test_no_text_and_no_path_is_published(finished, base):
    root, _, written = finished
    for path in written:
        text = path.read_text("utf-8")
        assert "pears" not in text  # in every made-up question and answer
        assert '\\"Q\\"' not in text  # the first token of a prompt
        assert str(root) not in text
        assert str(base.parent) not in text


def test_values_are_those_of_the_documents(finished):
    _, places, _ = finished
    (seed,) = Study(places.records).seeds["gsm8k"]
    for task in (seed.task("test"), seed.task("test", GSM8K.gold_task), seed.task("choose")):
        for metric, entry in task["metrics"].items():
            for cut, scored in entry["cuts"].items():
                found = value([task], metric, [cut])
                assert found.value == pytest.approx(scored["value"], rel=1e-7)
    assert {NONE, WHOLE} <= set(seed.task("test")["responses"])
    assert seed.steps["lower-layers-train"]["settings"]["boundary"] is not None


def test_the_page_is_written_from_them(finished):
    root, _, _ = finished
    text = (root / "docs/replication.md").read_text()
    assert "| GSM8K |" in text
    assert "- SAMSum: training, trace" in text  # not run yet


def test_commands_can_be_repeated_by_hand(finished):
    _, places, written = finished
    commands = [json.loads(path.read_text("utf-8"))["command"] for path in written]
    assert commands[0].startswith("lora-boundary train --output WORK/gsm8k/seed=0/adapter-16 ")
    assert "--family file:WORK/gsm8k/seed=0/cuts.txt" in commands[4]
    assert places.read("gsm8k", 0, "orders")["command"].startswith("python -m replication.orders")
