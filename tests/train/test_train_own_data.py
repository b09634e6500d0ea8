"""Training on a user's own rows, and what it records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM
from train_helpers import record

from lm_eval_lora_boundary.errors import LoraBoundaryError, OutputError
from lm_eval_lora_boundary.harness.own_data.request import OwnTasks, data_to_train
from lm_eval_lora_boundary.harness.own_data.splits import read_rows, row_id, uses_template
from lm_eval_lora_boundary.harness.prompts import Prompts
from lm_eval_lora_boundary.harness.training_record import read_training
from lm_eval_lora_boundary.train.data import build_rows
from lm_eval_lora_boundary.train.run import train
from lm_eval_lora_boundary.train.settings import TrainSettings

CHATS = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"What is {i} plus {i + 1}?"},
            {"role": "assistant", "content": f"It is {2 * i + 1}."},
        ]
    }
    for i in range(20)
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in CHATS))
    return path


def test_a_training_row_is_the_chat_as_the_template_writes_it(data: Path, lm: HFLM) -> None:
    own = data_to_train(str(data), chat=True)
    assert uses_template(str(data), None) and not uses_template(str(data), False)
    prompts = Prompts(task := OwnTasks(own, lm).task(), lm, apply_chat_template=True)
    rows = build_rows(prompts, task.training_docs(), 512)
    whole = {row["messages"][1]["content"]: row["messages"] for row in CHATS}
    assert rows.documents == len(own.splits["train"]) > 10
    for row, source in zip(rows.rows, own.splits["train"], strict=True):
        text = lm.apply_chat_template(whole[source.turns[-1]["content"]], False)
        # the template ends the answer's turn, which the model learns as well
        assert lm.tok_decode(row.tokens.tolist(), False).removeprefix("<s>") in text + "<|im_end|>"
        answer = lm.tok_decode(row.tokens[row.prompt :].tolist(), False)
        assert answer == f"{source.gold}<|im_end|>"


def test_the_rows_are_recorded(data: Path, settings: TrainSettings, tmp_path: Path) -> None:
    own = replace(
        settings, task=None, include_path=None, data=str(data), apply_chat_template=True, epochs=1
    )
    folder = train(own, tmp_path / "out")
    trained = read_rows(str(data)).to_train()["train"]
    found = read_training(str(folder))
    assert found is not None and found.data == str(data) and found.chat is True
    assert found.row_ids == {row_id(row) for row in trained}
    assert record(folder)["data"]["sha256"] == read_rows(str(data)).sha256
    assert record(folder)["rows"]["used"] == len(trained)
    # other rows are another run
    data.write_text(data.read_text().replace("plus", "and"))
    written: Any = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps(written | {"finished": False}))
    with pytest.raises(OutputError, match="different training data"):
        train(own, folder)


def test_a_task_or_data(settings: TrainSettings, data: Path) -> None:
    for wrong in ({"data": str(data)}, {"task": None}):
        with pytest.raises(LoraBoundaryError, match="either a task or data"):
            replace(settings, **wrong)
