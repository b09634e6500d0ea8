"""All steps of a seed have to be about one adapter."""

from __future__ import annotations

import json

import pytest

from lm_eval_lora_boundary.errors import OutputError
from replication.plan import DATA, Plan, Rows
from replication.run import published, run
from replication.steps import Places, all_steps

GSM8K = next(data for data in DATA if data.name == "gsm8k")
ROWS = {"gsm8k": Rows(train=16, trace=3, orders=2, choose=3, test=4)}
PLAN = Plan("a test", (0,), ROWS)
OURS, OTHER = "a" * 64, "b" * 64


class Executed(Exception):
    """Ends the run at its first command."""


def write(path, content):
    """Write JSON, and the folder it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def trained(folder, sha256=OURS, finished=True):
    """Write what training leaves in a folder."""
    content = {"finished": finished} | ({"adapter_sha256": sha256} if finished else {})
    write(folder / "training.json", content)
    if finished:
        for place in (folder, *(folder / f"epoch={epoch}" for epoch in (1, 2))):
            place.mkdir(exist_ok=True)
            (place / "adapter_model.safetensors").touch()


@pytest.fixture
def places(tmp_path):
    """Return a work folder with an adapter, and records that have its training."""
    found = Places(tmp_path / "work", tmp_path / "records", ("--pretrained", "base"))
    training = all_steps(PLAN, [GSM8K], found)[0]
    trained(training.output)
    record(found, training, adapter_sha256=OURS)
    return found


def record(places, step, **content):
    """Write the record of a step."""
    command = published(step.prepare(), places)
    write(places.record("gsm8k", 0, step.name), {"command": command, **content})


def steps(places):
    """Return the steps by name."""
    return {step.name: step for step in all_steps(PLAN, [GSM8K], places)}


@pytest.fixture
def first(places, monkeypatch):
    """Return a function that names the step that a run would execute first."""

    def execute(_, step, *__):
        raise Executed(step.name)

    def first_step():
        monkeypatch.setattr("replication.run._execute", execute)
        with pytest.raises(Executed) as found:
            run(PLAN, places, datasets=[GSM8K])
        return str(found.value)

    return first_step


def test_the_adapter_of_the_records_is_not_trained_again(first):
    assert first() == "trace"


def test_an_interrupted_training_goes_on(places, first):
    trained(steps(places)["train"].output, finished=False)
    assert first() == "train"


def test_lost_weights_are_trained_again(places, first):
    adapter = steps(places)["trace"].adapter
    (adapter / "adapter_model.safetensors").unlink()
    assert first() == "train"
    assert not adapter.exists()


def test_a_lost_epoch_is_trained_again(places, first):
    decision = {"best_boundary": None, "smallest_noninferior": None}
    gradient = {"suggested": None, "suggested_by_curve": None}
    contents = {
        "trace": {"tasks": {GSM8K.task: {"candidate": None, "gradient": gradient}}},
        "orders": {"orders": {}},
        "choose": {
            "layers": 4,
            "tasks": {name: {"decision": decision} for name in (GSM8K.task, GSM8K.gold_task)},
        },
        "test": {},
    }
    for name, content in contents.items():  # all that comes before
        write(places.record("gsm8k", 0, name), content)
        record(places, steps(places)[name], **content)
    assert first() == "epoch=1-test"
    adapter = steps(places)["epoch=1-test"].adapter
    (adapter / "adapter_model.safetensors").unlink()
    assert first() == "train"
    assert not adapter.exists()


def test_another_adapter_is_refused_and_named(places, monkeypatch):
    executed = []
    monkeypatch.setattr("replication.run._execute", lambda _, step, *__: executed.append(step.name))
    record(places, steps(places)["train"], adapter_sha256=OTHER)
    with pytest.raises(
        OutputError, match=r"gsm8k/seed=0/train\.json is about another adapter than"
    ):
        run(PLAN, places, datasets=[GSM8K])
    assert not executed  # nor the training of controls, which needs its records


def test_a_record_of_another_adapter_is_refused(places, monkeypatch):
    executed = []
    monkeypatch.setattr("replication.run._execute", lambda _, step, *__: executed.append(step.name))
    trace = steps(places)["trace"]
    record(places, trace, signature=f"base 1 | adapter {OTHER[:12]} | float32")
    with pytest.raises(
        OutputError, match=r"trace\.json is about another adapter than .*train\.json"
    ):
        run(PLAN, places, datasets=[GSM8K])
    assert not executed
    record(places, trace, signature=f"base 1 | adapter {OURS[:12]} | float32")
    with pytest.raises(FileNotFoundError):  # of the order, which was not really executed
        run(PLAN, places, datasets=[GSM8K])
    assert executed == ["orders"]
