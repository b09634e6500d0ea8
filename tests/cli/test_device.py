"""Commands run without a GPU, and refuse unknown or missing devices and unknown precisions."""

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
    """Return a function that returns the arguments of a command, without a device."""

    def arguments(command: str) -> list[str]:
        base, adapter = map(str, tiny())
        shared = [command, "--pretrained", base, "--peft", adapter]
        if command == "export":
            return [*shared, "--boundary", "1", str(tmp_path / "out")]
        shared += ["--tasks", "tiny_choices", "--include-path", str(task_folder)]
        return [*shared, "--limit", "2", "--output", str(tmp_path / "out")]

    return arguments


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run_without_device(command: str, arguments: Arguments, tmp_path: Path) -> None:
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
def test_unusable_devices_and_precisions_are_refused_in_one_line(
    command: str, wrong: tuple[str, ...], message: str, arguments: Arguments
) -> None:
    done = command_line(*arguments(command), *wrong)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(f"lora-boundary: error: {message}")
    assert "Traceback" not in done.err


def test_python_uses_the_best_device_by_default(tiny: Any) -> None:
    lm = make(*tiny(), LoraBoundaryLM, device=None)
    assert lm.device.type == torch.device(BEST).type
    # the device that lm-eval's own command line passes if none is given
    lm = LoraBoundaryLM.create_from_arg_obj({"pretrained": str(tiny()[0])}, {"device": "cuda:0"})
    assert lm.device.type == torch.device(BEST).type
    for wrong in ({"device": "nope"}, {"softmax_dtype": "float99"}, {"dtype": "int8"}):
        with pytest.raises(ModelError, match="is unknown; expected"):
            make(*tiny(), LoraBoundaryLM, **wrong)


def takes_cpu_memory() -> bool:
    model = object.__new__(LoraBoundaryLM)
    arguments = model._get_accelerate_args(parallelize=True, max_cpu_memory="1GiB", gpus=0)
    return "cpu" in arguments["max_memory"]


@pytest.mark.parametrize("boundary", [-1, 1])
@pytest.mark.parametrize(
    "placement",
    [
        {"device_map": "cpu"},
        {"device_map": "auto"},
        {"parallelize": True, "max_cpu_memory": "1GiB"},
    ],
    ids=str,
)
def test_arguments_that_place_the_model_reach_transformers(
    tiny: Any, placement: dict[str, Any], boundary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter = tiny()
    if "max_cpu_memory" in placement and not takes_cpu_memory():
        pytest.skip("this lm-eval drops max_cpu_memory: docs/upstream/lm_eval_next_cpu_memory.py")
    passed: dict[str, Any] = {}
    load = LoraBoundaryLM._create_model

    def create(self: Any, *args: Any, **kwargs: Any) -> None:
        passed.update(kwargs)
        load(self, *args, **kwargs)

    monkeypatch.setattr(LoraBoundaryLM, "_create_model", create)
    lm = make(base, adapter, boundary=boundary, **placement)
    assert {**passed, **placement} == passed
    assert passed["peft"] is None  # we load the adapter ourselves
    plain = make(base, adapter, boundary=boundary)
    assert torch.equal(logits(lm), logits(plain))
    assert lm.get_model_info()["dropped_modules"] == plain.get_model_info()["dropped_modules"] > 0
