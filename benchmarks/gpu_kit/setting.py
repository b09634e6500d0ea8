"""Where the kit runs, on which models, and what the machine is."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

_T = TypeVar("_T")
_PACKAGES = ("torch", "transformers", "peft", "lm-eval", "accelerate", "bitsandbytes", "torchao")


@dataclass(frozen=True)
class Setting:
    """Where the kit runs.

    Attributes:
        device: The device.
        tiny: Whether models and texts are tiny, so that a CPU is done in seconds.
        folder: Where models and adapters are written for the time of a section.
    """

    device: torch.device
    tiny: bool
    folder: Path

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def pick(self, usual: _T, tiny: _T) -> _T:
        """Return a size: the usual one, or that of a tiny run."""
        return tiny if self.tiny else usual

    def wait(self) -> None:
        """Wait until the device has done all work."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def free(self) -> None:
        """Free the memory of what is no longer used."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()

    def seconds(self, work: Callable[[], object], repeats: int = 1, *, warm: bool = True) -> float:
        """Return the median wall time of some work, after a run to warm up."""
        times = []
        for number in range(repeats + warm):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            if number >= warm:
                times.append(time.perf_counter() - started)
        return median(times)

    def peak(self, work: Callable[[], _T]) -> tuple[int | None, _T]:
        """Run some work; return the bytes that it needed on the device at most, and its result.

        They are those of tensors, without what was there before. None on a CPU, where torch does
        not count them.
        """
        if not self.on_gpu:
            return None, work()
        self.free()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        result = work()
        self.wait()
        return torch.cuda.max_memory_allocated(self.device) - before, result


def conditions(setting: Setting) -> dict[str, Any]:
    """Describe card, driver and versions."""
    found: dict[str, Any] = {
        "device": "cpu",
        "driver": "",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "tiny": setting.tiny,
        "versions": {name: _version(name) for name in _PACKAGES if _version(name)},
    }
    if setting.on_gpu:
        memory = torch.cuda.get_device_properties(setting.device).total_memory
        found["device"] = torch.cuda.get_device_name(setting.device)
        found["memory"] = memory
        found["cuda"] = torch.version.cuda or torch.version.hip
        found["driver"] = _driver()
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.splitlines() or [""])[0].strip()
