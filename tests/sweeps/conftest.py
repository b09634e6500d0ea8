"""Small lm-eval tasks for sweeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_tasks import write_tasks

from lm_eval_lora_boundary.sweeps import run as sweep_flow
from lm_eval_lora_boundary.task_loading import task_manager
from lm_eval_lora_boundary.traces import run as trace_flow


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="session")
def managers() -> Callable[..., Any]:
    """Return ``task_manager``, which reads thousands of files, with a memory."""
    known: dict[str, Any] = {}

    def remember(include_path: str | None, metadata: Any) -> Any:
        if str(include_path) not in known:
            known[str(include_path)] = task_manager(include_path, metadata)
        return known[str(include_path)]

    return remember


@pytest.fixture
def fast_tasks(managers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the tasks' files once in all tests that ask for this."""
    monkeypatch.setattr(sweep_flow, "task_manager", managers)
    monkeypatch.setattr(trace_flow, "task_manager", managers)
