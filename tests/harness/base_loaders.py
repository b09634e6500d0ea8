"""Every way in which the package loads a base model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm_eval_lora_boundary import LoraBoundaryLM, export
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


def by_vllm(base: str, _: str) -> Any:
    """Load what a run in vLLM reads before vLLM starts."""
    return empty_model(load_config(base, None, trust_remote_code=False))


def by_export(base: str, adapter: str, **model_args: Any) -> Any:
    output = Path(adapter).parent / "exported"
    # else it reads no weights of the base model where it can do without
    return export(base, adapter, 1, output, device="cpu", verify="logits", model_args=model_args)


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
