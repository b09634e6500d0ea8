"""Two processes of ``accelerate launch`` (CPU, gloo) give exactly what one process gives."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.tasks import TaskManager
from lm_eval.utils import sanitize_list
from tiny_models import LAYERS

import lm_eval_lora_boundary
from lm_eval_lora_boundary import sweep
from lm_eval_lora_boundary.sweeps import run as sweep_run
from lm_eval_lora_boundary.sweeps.store import AnswerStore

ROOT = Path(lm_eval_lora_boundary.__file__).parents[1]
TASKS = "tiny_words,tiny_choices,tiny_last_word,tiny_text"
# keys of lm-eval's results that depend on the time and the current folder
CHANGING = {"date", "total_evaluation_time_seconds", "git_hash", "pretty_env_info"}


MANAGERS: list[TaskManager] = []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accelerate(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a module in two processes, through the real launcher."""
    launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2")
    run = subprocess.run(
        [sys.executable, *launch, "--main_process_port", str(free_port()), "-m", *command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(),
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return run


def environment(**changes: Any) -> dict[str, str]:
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    return os.environ | settings | {name: str(value) for name, value in changes.items()}


def two_processes(
    *command: str, cwd: Path, **changes: Any
) -> tuple[tuple[int, str, str], tuple[int, str, str]]:
    """Run a command as a launcher would; return status, output and errors of each process."""
    launched = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": free_port()}
    launched |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"} | changes
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=environment(**launched, RANK=rank, LOCAL_RANK=rank),
        )
        for rank in range(2)
    ]
    try:
        both = [each.communicate(timeout=300) for each in started]
    finally:
        for each in started:
            each.kill()
    first, second = (
        (each.returncode, out, err) for each, (out, err) in zip(started, both, strict=True)
    )
    return first, second


def answers(folder: Path) -> list[Any]:
    connection = sqlite3.connect(folder / "answers.sqlite")
    try:
        tables = ("answers_by_cut", "notes")
        return [sorted(connection.execute(f"SELECT * FROM {t}"), key=repr) for t in tables]
    finally:
        connection.close()


def forget_half(folder: Path) -> None:
    connection = sqlite3.connect(folder / "answers.sqlite")
    connection.execute("DELETE FROM answers_by_cut WHERE hex(request) < '8'")
    connection.commit()
    connection.close()


def lm_evals_files(folder: Path) -> dict[str, Any]:
    """Return the content of lm-eval's files below a folder, without what changes."""
    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("*_20*.json*")):
        name = f"{file.parent.relative_to(folder)}/{file.name.rpartition('_')[0]}"
        assert name not in found
        if file.suffix == ".jsonl":
            found[name] = file.read_text()
        else:
            content = json.loads(file.read_text())
            found[name] = {k: v for k, v in content.items() if k not in CHANGING}
    return found


@pytest.fixture
def manager(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> TaskManager:
    """Find lm-eval's tasks once, which takes seconds, for all sweeps of this process."""
    if not MANAGERS:
        # lm-eval tells tasks about the model, and writes that to its results
        told = {name: settings[name] for name in ("pretrained", "peft", "dtype")}
        MANAGERS.append(sweep_run.task_manager(settings["include_path"], told))
    monkeypatch.setattr(sweep_run, "task_manager", lambda *_: MANAGERS[0])
    return MANAGERS[0]


def options(settings: dict[str, Any], **more: Any) -> list[str]:
    named = settings | more
    return [x for k, v in named.items() for x in (f"--{k.replace('_', '-')}", str(v)) if x]


def test_lm_eval(settings: dict[str, Any], manager: TaskManager, tmp_path: Path) -> None:
    """Compare numbers and samples of all kinds of requests; two processes share five documents."""
    names = f"{TASKS},tiny_drawn"
    model = {name: settings[name] for name in ("pretrained", "peft", "dtype")} | {"boundary": 1}
    run = accelerate(
        *("lm_eval", "--model", "lora_boundary", "--tasks", names, "--limit", "5"),
        *("--model_args", ",".join(f"{k}={v}" for k, v in model.items())),
        *("--include_path", settings["include_path"], "--num_fewshot", "2", "--device", "cpu"),
        *("--batch_size", "2", "--log_samples", "--output_path", "out"),
        cwd=tmp_path,
    )
    assert run.stderr.count(f"boundary 1 of {LAYERS} layers | kept 14 modules") == 1
    assert run.stdout.count("|tiny_drawn") == 1
    expected = lm_eval.simple_evaluate(
        model="lora_boundary",
        model_args=model | {"device": "cpu", "batch_size": 2},
        tasks=names.split(","),
        task_manager=manager,
        num_fewshot=2,
        limit=5,
    )
    (file,) = (tmp_path / "out").rglob("results_*.json")
    found = json.loads(file.read_text())
    assert found["results"] == json.loads(json.dumps(expected["results"]))
    assert found["config"]["boundary"] == 1
    for task, samples in expected["samples"].items():
        (file,) = file.parent.glob(f"samples_{task}_*.jsonl")
        ours = [json.loads(line) for line in file.read_text().splitlines()]
        for name in ("doc_id", "prompt_hash", "target_hash"):
            assert [s[name] for s in ours] == [s[name] for s in samples], (task, name)
        theirs = json.loads(json.dumps([sanitize_list(s["resps"]) for s in samples]))
        assert [s["resps"] for s in ours] == theirs, task


@pytest.mark.usefixtures("manager")
def test_sweep(settings: dict[str, Any], tmp_path: Path) -> None:
    """Sweep five documents with a confirmation; then one process resumes the work of two."""
    names = "tiny_drawn,tiny_last_word"
    more = {"tasks": names, "batch_size": 7, "boundaries": "-1,1,3", "num_fewshot": 1, "limit": 5.0}
    one, two = tmp_path / "one", tmp_path / "two"
    line = options(settings, **more, output=two)
    run = accelerate("lm_eval_lora_boundary", "sweep", *line, cwd=tmp_path)
    assert run.stdout.count("report.html") == 1
    sweep(output=one, **settings, **more)
    assert (two / "sweep.json").read_bytes() == (one / "sweep.json").read_bytes()
    assert answers(two) == answers(one)
    files = lm_evals_files(one)
    # a results file and two samples files per boundary; the confirmation of the one task on which
    # boundaries differ has at least two boundaries
    assert len(files) >= 3 * 3 + 2 * 2
    assert lm_evals_files(two) == files
    assert (two / "report.html").exists()
    shutil.rmtree(two / "boundary=1")
    (two / "sweep.json").unlink()
    forget_half(two)
    sweep(output=two, **settings, **more)
    assert (two / "sweep.json").read_bytes() == (one / "sweep.json").read_bytes()
    assert answers(two) == answers(one)
    assert lm_evals_files(two) == files


# several sweeps in one script
SCRIPT = """
import json, sys
from pathlib import Path

from lm_eval_lora_boundary import sweep
from lm_eval_lora_boundary.harness import processes
from lm_eval_lora_boundary.errors import AdapterError, LoraBoundaryError
from lm_eval_lora_boundary.sweeps import plan, run, worker
from lm_eval_lora_boundary.sweeps.settings import SweepSettings

settings = json.loads(sys.argv[1])
mistakes = []

# lm-eval takes seconds to find all its tasks
told = {name: settings[name] for name in ("pretrained", "peft", "dtype")}
manager = run.task_manager(settings["include_path"], told)
run.task_manager = plan.task_manager = lambda *_: manager


def mistaken(**changes):
    try:
        sweep(**(settings | {"tasks": "tiny_words", "output": "wrong"} | changes))
    except LoraBoundaryError as error:
        mistakes.append(str(error))

mistaken(boundaries="9")
mistaken(tasks="tiny_nothing")
mistaken(output="locked")
mistaken(model_args={"tp_plan": "auto"})

obey = worker.Worker.obey
def obey_until_work(self, order):
    if isinstance(order, worker.Work):
        raise AdapterError("only here")
    obey(self, order)
worker.Worker.obey = obey_until_work
mistaken()
worker.Worker.obey = obey

chosen = SweepSettings(**(settings | {"tasks": ("tiny_words",)}))
planned = plan.plan(chosen, Path("planned"))
found = {
    name: sweep(output=name, **(settings | more)) for name, more in json.loads(sys.argv[2]).items()
}
print(json.dumps({"mistakes": mistakes, "plan": planned, "found": found}))
"""


@pytest.mark.usefixtures("manager")
def test_in_a_script(settings: dict[str, Any], tmp_path: Path) -> None:
    """Errors end a sweep in all processes; then a race, one document and a resumed run work."""
    (tmp_path / "script.py").write_text(SCRIPT)
    common = settings | {"confirm": False, "boundaries": "-1,1,3"}
    sweeps: dict[str, Any] = {
        "race": {"tasks": "tiny_words", "race": True, "limit": 5, "split": "test"},
        "toggle": {"tasks": "tiny_words", "engine": "toggle", "limit": 1},
        "resumed": {"tasks": "tiny_choices", "batch_size": 8},
    }
    expected = {
        name: sweep(output=tmp_path / f"{name} alone", **(common | more))
        for name, more in sweeps.items()
    }
    shutil.copytree(tmp_path / "resumed alone", tmp_path / "resumed")
    forget_half(tmp_path / "resumed")
    with closing(AnswerStore(tmp_path / "locked")):
        arguments = (json.dumps(common), json.dumps(sweeps))
        first, second = two_processes("script.py", *arguments, cwd=tmp_path)
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert first[1].splitlines()[-1] == second[1].splitlines()[-1]
    told = json.loads(first[1].splitlines()[-1])
    boundary, task, folder, tensor_parallel, other = told["mistakes"]
    assert "9" in boundary
    assert "tiny_nothing" in task
    assert "another process is working in locked" in folder
    assert "tp_plan" in tensor_parallel
    assert other == "only here"
    assert "engine fork" in told["plan"]
    assert not (tmp_path / "planned").exists()
    for name in sweeps:
        alone, folder = tmp_path / f"{name} alone", tmp_path / name
        assert (folder / "sweep.json").read_bytes() == (alone / "sweep.json").read_bytes()
        assert answers(folder)[0] == answers(alone)[0]
        assert lm_evals_files(folder) == lm_evals_files(alone)
        assert json.dumps(told["found"][name]) == json.dumps(expected[name])


@pytest.mark.parametrize("command", ["lm_eval", "sweep"])
def test_a_mistake_is_one_line(settings: dict[str, Any], command: str, tmp_path: Path) -> None:
    line = options(settings, tasks="tiny_words", output="out", boundaries="7")
    if command == "lm_eval":
        model = ",".join(f"{k}={settings[k]}" for k in ("pretrained", "peft")) + ",boundary=7"
        line = ["-m", "lm_eval", "--model", "lora_boundary", "--model_args", model]
        line += ["--tasks", "lora_boundary_demo", "--device", "cpu"]
    else:
        line = ["-m", "lm_eval_lora_boundary", "sweep", *line]
    both = two_processes(*line, cwd=tmp_path)
    assert [status for status, _, _ in both] == [2, 2], both
    (message,) = [x for _, _, err in both for x in err.splitlines() if ": error: " in x]
    assert message in both[0][2]
    assert "7" in message
    assert not any("Traceback" in err for _, _, err in both)
