"""The base model may be left out where the adapter names it."""

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
from model_helpers import logits, make

from lm_eval_lora_boundary import LoraBoundaryLM, export, sweep, trace
from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.errors import LoraBoundaryError, ModelError
from lm_eval_lora_boundary.harness.given import settings_from_python
from lm_eval_lora_boundary.harness.provenance.base_name import base_of, find_base
from lm_eval_lora_boundary.sweeps.settings import SweepSettings

Named = Callable[..., Path]


@pytest.fixture
def named(tiny: Any, tmp_path: Path) -> Named:
    """Return a function that copies the tiny adapter and lets its config name a base model."""

    def write(base: Any = None, revision: Any = None, name: str = "adapter") -> Path:
        folder = Path(shutil.copytree(tiny()[1], tmp_path / name))
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text())
        config["base_model_name_or_path"] = str(tiny()[0]) if base is None else base
        config["revision"] = revision
        path.write_text(json.dumps(config))
        return folder

    return write


def test_the_model_is_that_of_the_config(
    named: Named, tiny: Any, caplog: pytest.LogCaptureFixture
) -> None:
    base, adapter = tiny()[0], named()
    with caplog.at_level(logging.INFO, "lm_eval.lora_boundary"):
        lm = LoraBoundaryLM(peft=str(adapter), boundary=1, device="cpu", dtype="float32")
    assert torch.equal(logits(lm), logits(make(base, adapter, boundary=1)))
    assert caplog.text.count(f"base model {base} as {adapter / 'adapter_config.json'} names") == 1


def test_its_revision_is_that_of_the_config_unless_one_is_given(named: Named) -> None:
    adapter = open_adapter(named(revision="dev"))
    name = adapter.config.base_model_name_or_path
    assert base_of(adapter, None, {"dtype": "auto"}) == (name, {"dtype": "auto", "revision": "dev"})
    assert base_of(adapter, None, {"revision": "x"}) == (name, {"revision": "x"})
    # that of another model would be wrong
    assert base_of(adapter, "other", {"dtype": "auto"}) == ("other", {"dtype": "auto"})
    assert find_base("other", "nowhere", {"dtype": "auto"}) == ("other", {"dtype": "auto"})


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ("", "names no base model (base_model_name_or_path is ''); give pretrained"),
        ("/gone/llama", "the base model /gone/llama that "),
        ("org/none-such", "the base model org/none-such that "),
    ],
)
def test_a_base_model_that_is_not_known_is_an_error_in_one_line(
    named: Named, base: str, says: str, tmp_path: Path
) -> None:
    adapter = named(base)
    calls: list[Callable[[], Any]] = [
        lambda: LoraBoundaryLM(peft=str(adapter)),
        lambda: sweep(None, adapter, "t", tmp_path / "out"),
        lambda: trace(None, adapter, "t", tmp_path / "out"),
        lambda: export(None, adapter, 1, tmp_path / "out"),
    ]
    for call in calls:
        with pytest.raises(ModelError) as caught:
            call()
        assert says in str(caught.value) and "\n" not in str(caught.value)
    for command in (("sweep", "--tasks", "t", "--output"), ("export", "--boundary", "1")):
        done = command_line(*command, str(tmp_path / "out"), "--peft", str(adapter))
        assert done.code == 2 and says in done.err


def test_one_of_the_two_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither pretrained nor peft is given"):
        LoraBoundaryLM()
    done = command_line("train", "--task", "t", "--output", str(tmp_path / "out"))
    assert done.code == 2 and "--pretrained" in done.err


def test_a_sweep_and_a_trace_are_the_same_as_with_its_name(named: Named, tiny: Any) -> None:
    base, adapter = tiny()[0], named(revision="dev")
    left_out, model = settings_from_python(SweepSettings, None, adapter, "t", model_args="a=b")
    given, _ = settings_from_python(
        SweepSettings, str(base), adapter, "t", model_args={"a": "b", "revision": "dev"}
    )
    assert left_out == given and model is None


def test_an_export(named: Named, tiny: Any, tmp_path: Path) -> None:
    facts = export(None, named(), 1, tmp_path / "cut", device="cpu")
    assert facts["base_model"] == str(tiny()[0])


def test_a_model_in_lm_eval(named: Named, task_folder: Path) -> None:
    manager = lm_eval.tasks.TaskManager(include_path=str(task_folder), include_defaults=False)
    results = lm_eval.simple_evaluate(
        model="lora_boundary",
        model_args=f"peft={named()},boundary=1,dtype=float32",
        tasks=["tiny_words"],
        task_manager=manager,
        device="cpu",
        limit=2,
    )
    assert results["config"]["boundary"] == 1
    kinds = [note["kind"] for note in results["config"]["notes"]]
    assert kinds == ["prompt"]


def test_the_adapter_is_opened_only_if_the_base_model_is_not_given() -> None:
    with pytest.raises(LoraBoundaryError, match="peft=nowhere is neither"):
        find_base(None, "nowhere", {})
