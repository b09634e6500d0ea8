"""Small lm-eval tasks for sweeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_tasks import write_tasks


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))
