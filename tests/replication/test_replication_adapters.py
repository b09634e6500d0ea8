"""An adapter in the work folder has to be the one that the records are about."""

from __future__ import annotations

import json

import pytest

from lm_eval_lora_boundary.errors import OutputError
from replication.plan import DATA, Plan, Rows
from replication.run import published, run
from replication.steps import Places, all_steps

GSM8K = next(data for data in DATA if data.name == "gsm8k")
PLAN = Plan("a test", (0,), {"gsm8k": Rows(train=16, trace=3, orders=2, choose=3, test=4)})


@pytest.fixture
def places(tmp_path):
    """Return a work folder with an adapter, and records that have its training."""
    found = Places(tmp_path / "work", tmp_path / "records", ("--pretrained", "base"))
    training = all_steps(PLAN, [GSM8K], found)[0]
    write(training.output / "training.json", {"adapter_sha256": "a" * 64})
    command = published(training.prepare(), found)
    record = found.record("gsm8k", 0, "train")
    write(record, {"command": command, "adapter_sha256": "a" * 64})
    return found


def write(path, content):
    """Write JSON, and the folder it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def test_another_adapter_is_refused_before_anything_is_run(places, monkeypatch):
    executed = []
    monkeypatch.setattr("replication.run._execute", lambda command, *_: executed.append(command))
    record = places.record("gsm8k", 0, "train")
    write(record, json.loads(record.read_text("utf-8")) | {"adapter_sha256": "b" * 64})
    with pytest.raises(OutputError, match=r"SHA-256 aaaa.*records/gsm8k/seed=0/train\.json"):
        run(PLAN, places, datasets=[GSM8K])
    assert not executed


def test_the_adapter_of_the_records_is_not_trained_again(places, monkeypatch):
    class Executed(Exception):
        """Ends the run at its first command."""

    def execute(_, step, *__):
        raise Executed(step.name)

    monkeypatch.setattr("replication.run._execute", execute)
    with pytest.raises(Executed, match=r"^trace$"):
        run(PLAN, places, datasets=[GSM8K])
