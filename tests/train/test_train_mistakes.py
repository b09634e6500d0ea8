"""Invalid input to training, and the command line."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from lm_eval.models.huggingface import HFLM
from tiny_models import LAYERS
from train_helpers import WriteTask, record, task_stub

from lm_eval_lora_boundary import cli
from lm_eval_lora_boundary.errors import BoundaryError, LoraBoundaryError, ModelError, TaskError
from lm_eval_lora_boundary.harness.prompts import Prompts
from lm_eval_lora_boundary.train.run import train
from lm_eval_lora_boundary.train.settings import TrainSettings


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"task": "summs"}, TaskError, r"task summs is unknown; did you mean .*sums"),
        ({"task": "both"}, TaskError, "is a group; training takes one task"),
        ({"task": "no_train"}, TaskError, "has no training split"),
        ({"task": "choice"}, TaskError, "has output_type multiple_choice"),
        ({"task": "gone"}, TaskError, "task gone: its data cannot be loaded"),
        ({"include_path": "/nowhere"}, TaskError, "include_path=/nowhere is not a folder"),
        ({"pretrained": "/nowhere"}, ModelError, "pretrained=/nowhere cannot be loaded"),
        ({"model_args": {"nonsense": 1}}, ModelError, "nonsense"),
        ({"boundary": LAYERS}, BoundaryError, f"boundary={LAYERS} is out of range"),
        ({"boundary": -1}, BoundaryError, "boundary=-1 keeps no layer, so there is nothing"),
        ({"max_length": 2}, TaskError, "no training rows: of 12 documents"),
    ],
)
def test_invalid_input_creates_no_folder(
    settings: TrainSettings,
    write_task: WriteTask,
    tmp_path: Path,
    changes: dict[str, Any],
    error: type[LoraBoundaryError],
    message: str,
) -> None:
    write_task(name="no_train", training_split=None)
    write_task(
        name="choice",
        output_type="multiple_choice",
        doc_to_choice=["a", "b"],
        doc_to_target=0,
        metric_list=[{"metric": "acc"}],
    )
    write_task(name="gone", dataset_kwargs={"data_files": {"train": "/nowhere.jsonl"}})
    group = yaml.safe_dump({"group": "both", "task": ["sums", "gone"]})
    (tmp_path / "tasks" / "both.yaml").write_text(group, "utf-8")
    with pytest.raises(error, match=message) as raised:
        train(replace(settings, **changes), tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("boundary", [LAYERS, -1])
def test_the_boundary_is_checked_before_weights_load(
    settings: TrainSettings, boundary: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(HFLM, "_create_model", lambda *_, **__: pytest.fail("weights were loaded"))
    with pytest.raises(BoundaryError):
        train(replace(settings, boundary=boundary), tmp_path / "out")


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 0},
        {"epochs": 0},
        {"lr": -1.0},
        {"dropout": 1.0},
        {"limit": 0},
        {"micro_batch_size": 3},
        {"micro_batch_size": 0},
        {"dtype": "float16"},
        {"device": "tpu"},
        {"target_modules": ()},
        {"model_args": {"peft": "x"}},
    ],
)
def test_invalid_settings_are_refused(settings: TrainSettings, changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(LoraBoundaryError, match=name):
        replace(settings, **changes)


def test_a_missing_chat_template_is_refused(lm: HFLM) -> None:
    lm.tokenizer.chat_template = None
    with pytest.raises(ModelError, match=r"has no chat template; leave the template out"):
        Prompts(SimpleNamespace(**task_stub()), lm, apply_chat_template=True)


def test_micro_batch_size_is_the_largest_divisor_up_to_4(settings: TrainSettings) -> None:
    sizes = {1: 1, 2: 2, 3: 3, 6: 3, 7: 1, 8: 4, 10: 2, 16: 4}
    for batch, micro in sizes.items():
        assert replace(settings, batch_size=batch, micro_batch_size=None).micro == micro


# --- the command line ---------------------------------------------------------------------------


def run_cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["/some/where/lora-boundary", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_command_line(
    base: Path,
    write_task: WriteTask,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    write_task()
    common = ["train", "--pretrained", str(base), "--include-path", str(tmp_path / "tasks")]
    options = ["--epochs", "1", "--lr", "1e-3", "--batch-size", "4", "--target-modules", "q_proj,"]
    options += ["--boundary", "1", "--limit", "8", "--device", "cpu", "--model-args", "dtype=auto"]
    output = tmp_path / "out put"
    arguments = [*common, *options, "--task", "sums", "--output", str(output)]
    code, out, _ = run_cli(monkeypatch, capsys, *arguments)
    assert code == 0
    assert out.strip().endswith(str(output))
    facts = record(output)
    assert facts["settings"]["target_modules"] == ["q_proj"]
    assert facts["settings"]["model_args"] == {"dtype": "auto"}
    assert facts["rows"]["documents"] == 8
    assert facts["command"].startswith(f"lora-boundary train --pretrained {base} ")
    assert facts["command"].endswith(f"--task sums --output '{output}'")

    arguments = [*common, "--task", "summs", "--output", str(tmp_path / "b")]
    code, out, err = run_cli(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    lines = err.strip().splitlines()
    assert lines[-1].startswith("lora-boundary: error: task summs is unknown; did you mean ")
    assert "Traceback" not in err


def test_help_has_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(monkeypatch, capsys, "train", "--help")
    assert code == 0
    assert "Example: lora-boundary train --pretrained" in out


@pytest.mark.parametrize("launched", [True, False])
def test_training_runs_in_one_process(
    launched: bool, settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher says so, and the trainer believes ``WORLD_SIZE`` alone."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    if launched:
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(LoraBoundaryError, match=r"train runs in one process and 2 .*WORLD_SIZE=2"):
        train(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()
