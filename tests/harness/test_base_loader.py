"""Base models that are adapters, or come with one: one line from every loader."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import transformers
from base_loaders import (
    HUGGING_FACE,
    LOADERS,
    Load,
    by_lm_eval_alone,
    by_vllm,
    name_base,
    refused,
    remedy,
)
from packaging.version import Version
from tiny_models import tiny_model
from transformers.integrations.peft import MIN_PEFT_VERSION

from lm_eval_lora_boundary import LoraBoundaryLM, export, sweep, trace
from lm_eval_lora_boundary.errors import ModelError

# transformers loads adapters only with a version of PEFT that may not be published yet.
LOADS_ADAPTERS = pytest.mark.skipif(
    Version(peft.__version__) < Version(MIN_PEFT_VERSION),
    reason=f"transformers loads no adapters without PEFT {MIN_PEFT_VERSION}",
)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("load", LOADERS)
def test_an_adapter_given_as_base_model(load: Load, copies: tuple[Path, Path]) -> None:
    _, adapter = copies
    name_base(adapter, "some/model")
    message = refused(load, adapter, adapter)
    assert f"pretrained={adapter} is an adapter (adapter_config.json)" in message
    if load is not by_vllm:
        assert message.endswith(remedy(load, "some/model", adapter))


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("weights", [True, False], ids=["whole", "stray config"])
def test_a_checkpoint_with_an_adapter_beside_it(
    load: Load, weights: bool, copies: tuple[Path, Path]
) -> None:
    base, adapter = copies
    for name in ("adapter_config.json", "adapter_model.safetensors")[: 1 + weights]:
        shutil.copy(adapter / name, base)
    name_base(base, str(base))  # where it was trained, which does not help
    message = refused(load, base, adapter)
    assert "beside its checkpoint, and transformers would load both" in message
    assert remedy(load, "BASE", base) in message
    assert "where BASE is the model" in message
    assert "move the adapter_* files out of the folder" in message


@LOADS_ADAPTERS
def test_transformers_loads_an_adapter_beside_a_checkpoint(copies: tuple[Path, Path]) -> None:
    """Without any message: this is why such a folder is refused."""
    base, adapter = copies
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / name, base)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    assert any("lora_" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    "name",
    [None, 7, "", "two\nlines", "\x1b[31mred", "[" * 100_000],
    ids=["none", "number", "empty", "lines", "escape", "broken"],
)
def test_an_adapter_may_name_anything_as_its_base(name: Any, copies: tuple[Path, Path]) -> None:
    _, adapter = copies
    if isinstance(name, str) and name.startswith("["):
        (adapter / "adapter_config.json").write_text(name)
    else:
        name_base(adapter, name)
    message = refused(by_lm_eval_alone, adapter, adapter)
    assert f"give pretrained=BASE,peft={adapter}, where BASE" in message
    assert message.isprintable()


@LOADS_ADAPTERS
@pytest.mark.parametrize("load", HUGGING_FACE)
def test_an_adapter_named_by_another_argument(load: Load, copies: tuple[Path, Path]) -> None:
    base, adapter = copies
    shutil.copytree(adapter, base / "inside")
    message = refused(load, base, adapter, adapter_kwargs={"subfolder": "inside"})
    assert "transformers loaded an adapter" in message


def test_a_peft_model_is_not_a_base_model(tiny: Any, tmp_path: Path) -> None:
    _, adapter = tiny()
    model: Any = peft.PeftModel.from_pretrained(tiny_model(), adapter)
    calls: list[Callable[[], Any]] = [
        lambda: LoraBoundaryLM(model),
        lambda: LoraBoundaryLM(model, peft=str(adapter)),
        lambda: sweep(model, adapter, "none", tmp_path / "out"),
        lambda: trace(model, adapter, "none", tmp_path / "out"),
        lambda: export(model, adapter, 1, tmp_path / "out"),
    ]
    for call in calls:
        with pytest.raises(ModelError, match="PeftModelForCausalLM was passed as pretrained"):
            call()


@pytest.mark.parametrize("named", ["adapter", "base"])
def test_hub_ids_on_the_command_line(copies: tuple[Path, Path], tmp_path: Path, named: str) -> None:
    """From the cache of the hub, without a network."""
    base, adapter = copies
    name_base(adapter, "org/base")
    for name, source in (("base", base), ("adapter", adapter)):
        repository = tmp_path / "hub" / f"models--org--{name}"
        commit = "0" * 40
        shutil.copytree(source, repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    arguments = f"pretrained=org/{named},boundary=9,peft=org/adapter"
    command = [sys.executable, "-m", "lm_eval", "--model", "lora_boundary"]
    run = subprocess.run(
        [*command, "--model_args", arguments, "--tasks", "arc_easy"],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "LMEVAL_LOG_LEVEL": "ERROR"},
        check=False,
    )
    assert run.returncode == 2, run.stderr
    last = run.stderr.splitlines()[-1]
    if named == "base":
        assert "boundary=9 is out of range" in last
    else:
        assert "pretrained=org/adapter is an adapter" in last
        assert last.endswith("give pretrained=org/base,peft=org/adapter")
    assert "Traceback" not in run.stderr
