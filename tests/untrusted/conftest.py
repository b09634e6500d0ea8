"""A whole adapter to spoil."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Tiny = Callable[..., tuple[Path, Path]]


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    """Return a copy of a whole adapter."""
    return Path(shutil.copytree(tiny()[1], tmp_path / "adapter"))
