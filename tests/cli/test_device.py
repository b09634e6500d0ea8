"""Every command runs where there is no GPU, and refuses devices and precisions that are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import command_line
from model_helpers import logits, make

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.errors import ModelError
from lm_eval_lora_boundary.harness.device import usable_device

Arguments = Callable[..., list[str]]
pytestmark = pytest.mark.usefixtures("fast_tasks")
COMMANDS = ("sweep", "trace", "export")
BEST = usable_device(None)


@pytest.fixture
def arguments(tiny: Any, task_folder: Path, tmp_path: Path) -> Arguments:
    """Return a command, whole but for the device."""

    def arguments(command: str) -> list[str]:
        base, adapter = map(str, tiny())
        shared = [command, "--pretrained", base, "--peft", adapter]
        if command == "export":
            return [*shared, "--boundary", "1", str(tmp_path / "out")]
        shared += ["--tasks", "tiny_choices", "--include-path", str(task_folder)]
        return [*shared, "--limit", "2", "--output", str(tmp_path / "out")]

    return arguments


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_device_it_runs(command: str, arguments: Arguments, tmp_path: Path) -> None:
    done = command_line(*arguments(command))
    assert done.code == 0, done.err
    assert any((tmp_path / "out").iterdir())


MISTAKES = [
    pytest.param(
        ("--device", "cuda"),
        "device=cuda, but torch finds no such device here; leave out --device",
        marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
    ),
    pytest.param(
        ("--device", "cuda:0"),
        "device=cuda:0, but torch finds no such device here",
        marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
    ),
    (("--device", "nope"), "device=nope is unknown; expected cpu, cuda"),
    (("--dtype", "float99"), "dtype=float99 is unknown; expected auto, float32"),
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("wrong", "message"), MISTAKES)
def test_what_is_not_there_is_refused_in_one_line(
    command: str, wrong: tuple[str, ...], message: str, arguments: Arguments
) -> None:
    done = command_line(*arguments(command), *wrong)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(f"lora-boundary: error: {message}")
    assert "Traceback" not in done.err


def test_from_python_the_best_device_is_taken(tiny: Any) -> None:
    lm = make(*tiny(), LoraBoundaryLM, device=None)
    assert lm.device.type == torch.device(BEST).type
    # what lm-eval's own command line gives where no device is given
    lm = LoraBoundaryLM.create_from_arg_obj({"pretrained": str(tiny()[0])}, {"device": "cuda:0"})
    assert lm.device.type == torch.device(BEST).type
    for wrong in ({"device": "nope"}, {"softmax_dtype": "float99"}, {"dtype": "int8"}):
        with pytest.raises(ModelError, match="is unknown; expected"):
            make(*tiny(), LoraBoundaryLM, **wrong)


@pytest.mark.parametrize("boundary", [-1, 1])
@pytest.mark.parametrize(
    "placed",
    [
        {"device_map": "cpu"},
        {"device_map": "auto"},
        {"parallelize": True, "max_cpu_memory": "1GiB"},
    ],
    ids=str,
)
def test_a_placed_model(
    tiny: Any, placed: dict[str, Any], boundary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter = tiny()
    # what lm-eval puts together must reach transformers, with the adapter left to us
    asked: dict[str, Any] = {}
    load = LoraBoundaryLM._create_model

    def create(self: Any, *args: Any, **kwargs: Any) -> None:
        asked.update(kwargs)
        load(self, *args, **kwargs)

    monkeypatch.setattr(LoraBoundaryLM, "_create_model", create)
    lm = make(base, adapter, boundary=boundary, **placed)
    assert {**asked, **placed} == asked
    assert asked["peft"] is None
    plain = make(base, adapter, boundary=boundary)
    assert torch.equal(logits(lm), logits(plain))
    assert lm.get_model_info()["dropped_modules"] == plain.get_model_info()["dropped_modules"] > 0
