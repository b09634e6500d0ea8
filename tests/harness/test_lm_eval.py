"""Command line, config file and Python give the same results, with the facts about the cut."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import yaml
from command_line import lm_eval_script
from tiny_models import LAYERS

TASK = "lora_boundary_demo"


@pytest.fixture(scope="module")
def arguments(tiny: Any) -> dict[str, Any]:
    base, adapter = tiny()
    model = {"pretrained": str(base), "peft": str(adapter), "dtype": "float32"}
    return model | {"device": "cpu", "batch_size": 4}


def run_lm_eval(*command: str, cwd: Path) -> dict[str, Any]:
    script = lm_eval_script(cwd)
    env = os.environ | {"LMEVAL_LOG_LEVEL": "INFO"}
    run = subprocess.run(
        [*script, *command], capture_output=True, text=True, cwd=cwd, env=env, check=False
    )
    assert run.returncode == 0, run.stderr
    assert f"boundary 1 of {LAYERS} layers | kept 14 modules" in run.stderr
    (file,) = cwd.rglob("results_*.json")
    assert list(cwd.rglob(f"samples_{TASK}_*.jsonl"))
    return json.loads(file.read_text())


def test_command_line_config_file_and_python_agree(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    settings = arguments | {"boundary": 1}
    batch, device = settings.pop("batch_size"), settings.pop("device")
    model_args = ",".join(f"{key}={value}" for key, value in settings.items())
    (tmp_path / "line").mkdir()
    line = run_lm_eval(
        *("--model", "lora_boundary", "--model_args", model_args, "--tasks", TASK),
        *("--limit", "6", "--batch_size", str(batch), "--device", device),
        *("--output_path", ".", "--log_samples"),
        cwd=tmp_path / "line",
    )
    (tmp_path / "file").mkdir()
    suite = {
        "model": "lora_boundary",
        "model_args": settings,
        "tasks": [TASK],
        "limit": 6,
        "batch_size": batch,
        "device": device,
        "output_path": ".",
        "log_samples": True,
    }
    (tmp_path / "file" / "suite.yaml").write_text(yaml.safe_dump(suite))
    file = run_lm_eval("run", "--config", "suite.yaml", cwd=tmp_path / "file")
    python = lm_eval.simple_evaluate(
        model="lora_boundary", model_args=arguments | {"boundary": 1}, tasks=[TASK], limit=6
    )
    results = [run["results"][TASK] for run in (line, file, python)]
    assert results[0] == results[1] == json.loads(json.dumps(results[2]))
    for run in (line, file, python):
        assert run["config"]["boundary"] == 1
        assert run["config"]["num_layers"] == LAYERS
        assert run["config"]["merge"] is False
        assert len(run["config"]["adapter_sha256"]) == 64


def test_whole_adapter_and_base_model_equal_hf(arguments: dict[str, Any]) -> None:
    def samples(model: str, **changes: Any) -> list[Any]:
        settings = {k: v for k, v in (arguments | changes).items() if v is not None}
        run = lm_eval.simple_evaluate(model=model, model_args=settings, tasks=[TASK], limit=8)
        return [(s["doc_id"], s["resps"], s["exact_match"]) for s in run["samples"][TASK]]

    whole, bare = samples("hf"), samples("hf", peft=None)
    assert whole != bare
    assert samples("lora_boundary") == samples("lora_boundary", boundary=LAYERS - 1) == whole
    assert samples("lora_boundary", boundary=-1) == samples("lora_boundary", peft=None) == bare
