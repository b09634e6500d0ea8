"""Adapter folders that are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_models import tiny_model

from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.base_model import empty_model
from lm_eval_lora_boundary.cuts.loading import check_fits
from lm_eval_lora_boundary.errors import AdapterError, LoraBoundaryError

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"


def read(folder: Path) -> None:
    """Read an adapter as far as all checks go."""
    check_fits(empty_model(tiny_model().config), open_adapter(folder))


def refused(folder: Path, error: type[LoraBoundaryError] = AdapterError) -> str:
    with pytest.raises(error) as caught:
        read(folder)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 2100
    return message


def no_file(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"device": "/dev/zero", "loop": path.name, "missing": "nowhere"}[kind])
