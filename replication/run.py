"""Runs the steps that have no record yet, and writes the record of each as it ends."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from lm_eval_lora_boundary.files import write_text
from lm_eval_lora_boundary.harness.model_info import versions

from .adapters import Adapters
from .plan import DATA, Data, Plan
from .records import read_step
from .steps import Places, Step, all_steps

_TIMES = "times.jsonl"  # in the work folder: a line for every process that worked on a step
_DIGITS = 9


def run(
    plan: Plan,
    places: Places,
    *,
    datasets: Sequence[Data] = DATA,
    rows: Path | None = None,
    steps: int | None = None,
) -> list[Path]:
    """Run what has no record yet, one step after another.

    A step that is interrupted goes on where it was when this is called again. An adapter that is
    not in the work folder any more is trained again if a step needs it.

    Args:
        plan: What to run.
        places: Where everything is.
        datasets: The data sets to run.
        rows: Folder with the data sets in the hub's layout; None for the hub itself.
        steps: Run only so many steps; None for all.

    Returns:
        The records that were written.

    Raises:
        SystemExit: A command failed; its own message is above.
        OutputError: An adapter is not the one of the records. All that does not need it was run.
    """
    written: list[Path] = []
    adapters = Adapters(all_steps(plan, datasets, places), places)
    for step in adapters.steps:
        if len(written) == steps:
            break
        if adapters.refused(step):
            continue
        command = step.prepare()
        shown = published(command, places)
        path = places.record(step.data.name, step.seed, step.name)
        if path.exists() and json.loads(path.read_text("utf-8"))["command"] == shown:
            adapters.check_record(step)
            continue
        if training := adapters.to_train_again(step):
            _execute(training.prepare(), training, places, rows)
        if not adapters.accept(step):
            continue
        _execute(command, step, places, rows)
        record = {
            "dataset": step.data.name,
            "seed": step.seed,
            "step": step.name,
            "command": shown,
            "date": date.today().isoformat(),
            "machine": _machine(),
            "time": _time(step.output),
            "versions": versions(),
            **read_step(step.kind, step.output),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, _without_paths(as_text(record), places))
        written.append(path)
    adapters.raise_what_was_refused()
    return written


def published(command: Sequence[str], places: Places) -> str:
    """Return a command as it is published: without this machine's paths."""
    text = _without_paths(shlex.join(command), places)
    text = text.replace("-m lm_eval_lora_boundary", "lora-boundary")
    return text.replace("-m replication.orders", "python -m replication.orders")


def _without_paths(text: str, places: Places) -> str:
    """Return a text in which this machine's folders have short names."""
    names = {str(places.work): "WORK"}
    names |= {part: Path(part).name for part in places.base if Path(part).is_absolute()}
    for path, name in names.items():
        text = text.replace(path, name)
    return text


def _execute(command: Sequence[str], step: Step, places: Places, rows: Path | None) -> None:
    """Run a command with this Python, in the folder where the data sets are."""
    shown = published(command, places)
    print(f"{step.data.name}, seed {step.seed}, {step.name}: {shown}", flush=True)
    step.output.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    above = str(Path(__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, (above, environment.get("PYTHONPATH")))
    )
    if rows is not None:
        # `datasets` remembers a folder by its name, and would not notice another with that name
        cache = str(places.work / "datasets-cache")
        environment |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": cache}
    started = time.time()
    process = subprocess.Popen([sys.executable, *command], cwd=rows or places.work, env=environment)
    try:
        _, status, used = os.wait4(process.pid, 0)
    except KeyboardInterrupt:  # which the command got too
        _, status, used = os.wait4(process.pid, 0)
        raise
    finally:
        entry = {"wall": round(time.time() - started), "cpu": round(used.ru_utime + used.ru_stime)}
        with _times(step.output).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)


def _times(output: Path) -> Path:
    """Return the file beside a step's folder, which belongs to its command alone."""
    return output.with_name(f"{output.name}-{_TIMES}")


def _time(output: Path) -> dict[str, int]:
    """Return the seconds that a step took, over all its interruptions."""
    lines = _times(output).read_text("utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return {name: sum(entry[name] for entry in entries) for name in ("wall", "cpu")}


def _machine() -> dict[str, Any]:
    """Return what the machine is, as far as numbers and times depend on it."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "processor": f"{platform.machine()}, {capability}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def as_text(content: Mapping[str, Any]) -> str:
    """Return a record as JSON: keys on lines of their own, lists of numbers on one."""
    return _lines(content, 0) + "\n"


def _lines(content: Any, depth: int) -> str:
    if isinstance(content, Mapping) and content:
        space = " " * (depth + 1)
        inner = ",\n".join(
            f"{space}{json.dumps(str(key))}: {_lines(value, depth + 1)}"
            for key, value in content.items()
        )
        return f"{{\n{inner}\n{' ' * depth}}}"
    return json.dumps(_rounded(content), ensure_ascii=False, separators=(",", ":"))


def _rounded(content: Any) -> Any:
    """Return numbers with nine digits, and whole ones as such; more would only take space."""
    if isinstance(content, float):
        short = float(f"{content:.{_DIGITS}g}")
        return int(short) if short.is_integer() and abs(short) < 1e9 else short
    if isinstance(content, list):
        return [_rounded(item) for item in content]
    if isinstance(content, Mapping):
        return {key: _rounded(value) for key, value in content.items()}
    return content
