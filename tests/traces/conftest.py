"""Traces of tiny models on tiny tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm_eval_lora_boundary.traces.api import trace


@pytest.fixture
def run(
    tiny: Any, task_folder: Path, tmp_path: Path, fast_tasks: None
) -> Callable[..., dict[str, Any]]:
    """Trace a tiny model; the files are in ``tmp_path/out``."""

    def run(tasks: str = "tiny_words", **settings: Any) -> dict[str, Any]:
        base, adapter = tiny(settings.pop("architecture", "llama"))
        defaults: dict[str, Any] = {
            "include_path": str(task_folder),
            "dtype": "float32",
            "device": "cpu",
            "batch_size": 3,
        }
        given = defaults | settings
        return trace(str(base), adapter, tasks, given.pop("output", tmp_path / "out"), **given)

    return run
