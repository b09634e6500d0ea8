"""The ready commands for the paper's models: every option exists, and the sweep runs dry."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from bytes_model import write_base
from tiny_models import save_adapter

from lm_eval_lora_boundary.cli import app

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tasks"))

from task_data import write_hub

PAPER = Path(__file__).resolve().parents[2] / "examples/paper"
MODELS = ["phi-2", "llama-2-7b-chat", "llama-3.1-8b-instruct"]
STEPS = ["train", "trace", "sweep", "dry-run", "sweep-gpus", "sweep-vllm", "test"]


def script(model: str, *arguments: str, check=True, **environment: str):
    return subprocess.run(
        ["bash", str(PAPER / f"{model}.sh"), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=check,
    )


@pytest.fixture
def echo(tmp_path):
    """Return a folder with an `accelerate` that prints its arguments."""
    program = tmp_path / "accelerate"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    return {"LORA_BOUNDARY": "echo", "LM_EVAL": "echo", "PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("step", STEPS)
def test_all_options_exist(model, step, echo):
    (line,) = script(model, step, "samsum", **echo).stdout.splitlines()
    words = shlex.split(line)
    if step == "sweep-gpus":
        assert words[:4] == ["launch", "--num_processes", "2", "-m"]
        words = words[5:]
    name, *options = words
    program = typer.main.get_command(app)
    with program.make_context("lora-boundary", [name, *options]) as above:
        # refuses what it does not know
        given = program.commands[name].make_context(name, options, parent=above).params
    task = given.get("tasks") or given["task"]
    assert task.startswith("lora_boundary_samsum")
    assert given["pretrained"].partition("/")[2].lower().startswith(model.removesuffix("-chat"))


def test_the_four_steps_follow_each_other(echo):
    lines = script("phi-2", "all", "gsm8k", MORE="--limit 7", **echo).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["train", "trace", "sweep", "sweep"]
    assert all(line.endswith("--limit 7") for line in lines)


def test_every_boundary_is_tested_with_vllm(echo):
    lines = script("phi-2", "test-vllm", "gsm8k", **echo).stdout.splitlines()
    assert ["boundary=15" in lines[0], "boundary=20" in lines[1], len(lines)] == [True, True, 2]


def test_an_unknown_step_is_refused():
    found = script("phi-2", "tast", "gsm8k", check=False)
    assert found.returncode == 2
    assert "step tast: expected train, trace" in found.stderr


def test_the_estimates_in_the_readme_are_those_of_the_script():
    table = runpy.run_path(str(PAPER / "hours.py"))["table"]()
    assert table in (PAPER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("length", [32, 100, 256])
def test_the_estimates_are_near_what_was_measured(length):
    """The estimate is a line through these three; it is for 500 documents, in batches of 8."""
    found = runpy.run_path(str(PAPER / "hours.py"))
    found["hours"].__globals__["DATA"]["as measured"] = (1000, length, 0, 0)
    sweep = found["hours"](*found["MODELS"]["Llama-3.1-8B-Instruct"], "as measured")[2]
    rows = json.loads((PAPER.parents[1] / "docs/gpu/sweep.json").read_text("utf-8"))["rows"]
    seconds = {row["what"]: row["value"] for row in rows}
    assert (seconds["documents"], seconds["tokens of a prompt"]) == (8, 1000)
    measured = seconds[f"responses of {length} tokens, different texts: the sweep"]
    assert 3600 * sweep / 63 == pytest.approx(measured, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_sweep_runs_dry(tmp_path, model):
    """A model of the same architecture, of random weights and few layers."""
    architecture = "phi" if model.startswith("phi") else "llama"
    base = write_base(tmp_path / "base", architecture)
    adapter = tmp_path / "out" / model / "gsm8k" / "seed=0" / "adapter"
    save_adapter(adapter, base)
    write_hub(tmp_path / "hub")
    program = tmp_path / "lora-boundary"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m lm_eval_lora_boundary "$@"\n')
    program.chmod(0o755)
    found = subprocess.run(
        ["bash", str(PAPER / f"{model}.sh"), "dry-run", "gsm8k"],
        cwd=tmp_path / "hub",
        env=os.environ
        | {
            "LORA_BOUNDARY": str(program),
            "BASE": str(tmp_path / "base"),
            "OUT": str(tmp_path / "out"),
            "PYTHONPATH": str(PAPER.parents[1]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "It would take about" in found.stdout
