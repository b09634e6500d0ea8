"""Base models that cannot be loaded, or come with an adapter: one line from every loader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from lm_eval.models.huggingface import HFLM
from packaging.version import Version
from tiny_models import tiny_model
from transformers.integrations.peft import MIN_PEFT_VERSION

from lm_eval_lora_boundary import LoraBoundaryLM, export, sweep, trace
from lm_eval_lora_boundary.cuts import loading
from lm_eval_lora_boundary.cuts.base_model import empty_model, load_config
from lm_eval_lora_boundary.errors import ModelError
from lm_eval_lora_boundary.harness.sweep_model import load as load_whole
from lm_eval_lora_boundary.sweeps.engines import load_model
from lm_eval_lora_boundary.sweeps.settings import SweepSettings
from lm_eval_lora_boundary.traces.lm import TraceLM
from lm_eval_lora_boundary.traces.settings import TraceSettings
from lm_eval_lora_boundary.train.model import load_base
from lm_eval_lora_boundary.train.settings import TrainSettings

Load = Callable[..., Any]
Change = Callable[[Path], Any]


def by_vllm(base: str, _: str) -> Any:
    """Load what a run in vLLM reads before vLLM starts."""
    return empty_model(load_config(base, None, trust_remote_code=False))


def by_export(base: str, adapter: str, **model_args: Any) -> Any:
    output = Path(adapter).parent / "exported"
    return export(base, adapter, 1, output, device="cpu", model_args=model_args)


def by_sweep(base: str, adapter: str, **model_args: Any) -> Any:
    given: dict[str, Any] = {"pretrained": base, "peft": adapter, "model_args": model_args}
    return load_model(SweepSettings(tasks=("none",), device="cpu", **given))


def by_trace(base: str, adapter: str, **model_args: Any) -> Any:
    given: dict[str, Any] = {"pretrained": base, "peft": adapter, "model_args": model_args}
    return load_whole(TraceLM, TraceSettings(tasks=("none",), device="cpu", **given))


def by_train(base: str, _: str, **model_args: Any) -> Any:
    given: dict[str, Any] = {"pretrained": base, "model_args": model_args}
    return load_base(TrainSettings(task="none", device="cpu", **given))


def by_lm_eval(base: str, adapter: str, **model_args: Any) -> Any:
    return LoraBoundaryLM(base, peft=adapter, device="cpu", **model_args)


def by_lm_eval_alone(base: str, _: str, **model_args: Any) -> Any:
    return LoraBoundaryLM(base, device="cpu", **model_args)


LOADERS = [by_lm_eval, by_lm_eval_alone, by_sweep, by_trace, by_train, by_export, by_vllm]
HUGGING_FACE = LOADERS[:-1]
# transformers loads adapters only with a version of PEFT that may not be published yet.
LOADS_ADAPTERS = pytest.mark.skipif(
    Version(peft.__version__) < Version(MIN_PEFT_VERSION),
    reason=f"transformers loads no adapters without PEFT {MIN_PEFT_VERSION}",
)


@pytest.fixture
def copies(tiny: Any, tmp_path: Path) -> tuple[Path, Path]:
    """A base model and an adapter that a test may change."""
    for source, name in zip(tiny(), ("base", "adapter"), strict=True):
        shutil.copytree(source, tmp_path / name)
    return tmp_path / "base", tmp_path / "adapter"


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if weights of a base model are loaded."""
    monkeypatch.setattr(HFLM, "_create_model", lambda *_, **__: pytest.fail("weights were loaded"))


def name_base(folder: Path, name: Any) -> None:
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"base_model_name_or_path": name}))


def refused(load: Load, base: Path | str, adapter: Path, **model_args: Any) -> str:
    """Return the one-line message that refuses a base model."""
    with pytest.raises(ModelError) as raised:
        load(str(base), str(adapter), **model_args)
    message = str(raised.value)
    assert "\n" not in message
    return message


def remedy(load: Load, base: str, adapter: Path) -> str:
    return f"give pretrained={base}" + ("" if load is by_train else f",peft={adapter}")


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


# --- base models that cannot be loaded for other reasons


def change_config(**values: Any) -> Change:
    def change(base: Path) -> None:
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps(config | values))

    return change


def truncate(base: Path) -> None:
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-500])


def garbage(base: Path) -> None:
    (base / "model.safetensors").unlink()
    (base / "pytorch_model.bin").write_bytes(b"no pickle" * 50)


def multimodal(base: Path) -> None:
    transformers.Qwen2VLConfig().save_pretrained(base)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (multimodal, "Unrecognized configuration class"),
        (change_config(model_type="unheard_of"), "unheard_of"),
        (change_config(hidden_act="unheard_of"), "KeyError: 'unheard_of'"),
        (change_config(num_attention_heads="four"), "expected int, got str"),
        (lambda base: (base / "config.json").write_text("{"), "not a valid JSON file"),
    ],
    ids=["multimodal", "model type", "activation", "type", "json"],
)
def test_bad_configs(load: Load, change: Change, reason: str, copies: tuple[Path, Path]) -> None:
    base, adapter = copies
    change(base)
    message = refused(load, base, adapter)
    assert f"pretrained={base} cannot be loaded" in message
    assert reason in message


@pytest.mark.parametrize("load", HUGGING_FACE)
@pytest.mark.parametrize("change", [truncate, garbage, change_config(vocab_size=70)])
def test_bad_weights(load: Load, change: Change, copies: tuple[Path, Path]) -> None:
    base, adapter = copies
    change(base)
    assert f"pretrained={base} cannot be loaded" in refused(load, base, adapter)


@pytest.mark.parametrize("load", HUGGING_FACE)
def test_an_unknown_argument(load: Load, copies: tuple[Path, Path]) -> None:
    message = refused(load, *copies, nonsense=1)
    assert "cannot be loaded" in message
    assert "nonsense" in message


# --- errors that are not the base model's


@pytest.mark.parametrize("load", [by_lm_eval, by_sweep])
@pytest.mark.parametrize("kind", [KeyError, RuntimeError, ValueError, OSError, TypeError])
def test_bugs_keep_their_traceback(
    load: Load, kind: type[Exception], copies: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this package's own code, which lm-eval calls while it loads a model."""

    def bug(*_: Any) -> None:
        raise kind("a bug with an unexpected keyword argument")

    monkeypatch.setattr(loading, "find_decoder_stack", bug)
    monkeypatch.setattr(HFLM, "_create_model", lambda *_, **__: pytest.fail("not during loading"))
    with pytest.raises(kind, match="a bug") as raised:
        load(*map(str, copies))
    assert raised.type is kind


@pytest.mark.parametrize("kind", [KeyError, RuntimeError, TypeError])
def test_bugs_of_lm_eval_keep_their_traceback(
    kind: type[Exception], copies: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: Any, **__: Any) -> None:
        raise kind("a bug")

    monkeypatch.setattr(HFLM, "_create_tokenizer", bug)
    with pytest.raises(kind, match="a bug"):
        by_lm_eval(*map(str, copies))


@pytest.mark.parametrize("load", [by_lm_eval, by_train, by_export])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 2 bytes"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
@pytest.mark.parametrize("place", ["in transformers", "in lm-eval"])
def test_out_of_memory_has_its_own_remedy(
    load: Load,
    error: Exception,
    place: str,
    copies: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise error

    if place == "in transformers":
        monkeypatch.setattr(transformers.LlamaForCausalLM, "from_pretrained", full)
    else:  # where it moves weights to a device; on a CPU, it does not
        monkeypatch.setattr(HFLM, "_create_model", full)
    message = refused(load, *copies)
    assert f"pretrained={copies[0]} does not fit into memory ({type(error).__name__}" in message
    assert "smaller dtype" in message
    assert "check the name" not in message
