"""Models for tests of what is refused, before weights are loaded where that is possible."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if weights of a base model are loaded."""

    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were loaded before the error was reported")

    monkeypatch.setattr(HFLM, "_create_model", load)


@pytest.fixture
def model(tiny: Any) -> dict[str, Any]:
    """Arguments for a tiny model with an adapter."""
    base, adapter = tiny()
    return {"pretrained": str(base), "peft": str(adapter), "device": "cpu"}


@pytest.fixture
def copies(tiny: Any, tmp_path: Path) -> tuple[Path, Path]:
    """A base model and an adapter that a test may change."""
    for source, name in zip(tiny(), ("base", "adapter"), strict=True):
        shutil.copytree(source, tmp_path / name)
    return tmp_path / "base", tmp_path / "adapter"
