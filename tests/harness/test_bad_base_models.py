"""Base models that cannot be loaded: one line from every loader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from base_loaders import HUGGING_FACE, LOADERS, Load, refused

Change = Callable[[Path], Any]


def change_config(**values: Any) -> Change:
    def change(base: Path) -> None:
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps(config | values))

    return change


def truncate(base: Path) -> None:
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-500])


def garbage(base: Path) -> None:
    (base / "model.safetensors").unlink()
    (base / "pytorch_model.bin").write_bytes(b"no pickle" * 50)


def multimodal(base: Path) -> None:
    transformers.Qwen2VLConfig().save_pretrained(base)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (multimodal, "Unrecognized configuration class"),
        (change_config(model_type="unheard_of"), "unheard_of"),
        (change_config(hidden_act="unheard_of"), "KeyError: 'unheard_of'"),
        (change_config(num_attention_heads="four"), "expected int, got str"),
        (lambda base: (base / "config.json").write_text("{"), "not a valid JSON file"),
    ],
    ids=["multimodal", "model type", "activation", "type", "json"],
)
def test_bad_configs(load: Load, change: Change, reason: str, copies: tuple[Path, Path]) -> None:
    base, adapter = copies
    change(base)
    message = refused(load, base, adapter)
    assert f"pretrained={base} cannot be loaded" in message
    assert reason in message


@pytest.mark.parametrize("load", HUGGING_FACE)
@pytest.mark.parametrize("change", [truncate, garbage, change_config(vocab_size=70)])
def test_bad_weights(load: Load, change: Change, copies: tuple[Path, Path]) -> None:
    base, adapter = copies
    change(base)
    assert f"pretrained={base} cannot be loaded" in refused(load, base, adapter)


@pytest.mark.parametrize("load", HUGGING_FACE)
def test_an_unknown_argument(load: Load, copies: tuple[Path, Path]) -> None:
    message = refused(load, *copies, nonsense=1)
    assert "cannot be loaded" in message
    assert "nonsense" in message
