"""Errors while a base model is loaded that are not the model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from base_loaders import Load, by_export, by_lm_eval, by_sweep, by_train, refused
from lm_eval.models.huggingface import HFLM

from lm_eval_lora_boundary.cuts import loading


@pytest.mark.parametrize("load", [by_lm_eval, by_sweep])
@pytest.mark.parametrize("kind", [KeyError, RuntimeError, ValueError, OSError, TypeError])
def test_bugs_keep_their_traceback(
    load: Load, kind: type[Exception], copies: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this package's own code, which lm-eval calls while it loads a model."""

    def bug(*_: Any) -> None:
        raise kind("a bug with an unexpected keyword argument")

    monkeypatch.setattr(loading, "find_decoder_stack", bug)
    monkeypatch.setattr(HFLM, "_create_model", lambda *_, **__: pytest.fail("not during loading"))
    with pytest.raises(kind, match="a bug") as raised:
        load(*map(str, copies))
    assert raised.type is kind


@pytest.mark.parametrize("kind", [KeyError, RuntimeError, TypeError])
def test_bugs_of_lm_eval_keep_their_traceback(
    kind: type[Exception], copies: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: Any, **__: Any) -> None:
        raise kind("a bug")

    monkeypatch.setattr(HFLM, "_create_tokenizer", bug)
    with pytest.raises(kind, match="a bug"):
        by_lm_eval(*map(str, copies))


@pytest.mark.parametrize("load", [by_lm_eval, by_train, by_export])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 2 bytes"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
@pytest.mark.parametrize("place", ["in transformers", "in lm-eval"])
def test_out_of_memory_has_its_own_remedy(
    load: Load,
    error: Exception,
    place: str,
    copies: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise error

    if place == "in transformers":
        monkeypatch.setattr(transformers.LlamaForCausalLM, "from_pretrained", full)
    else:  # where it moves weights to a device; on a CPU, it does not
        monkeypatch.setattr(HFLM, "_create_model", full)
    message = refused(load, *copies)
    assert f"pretrained={copies[0]} does not fit into memory ({type(error).__name__}" in message
    assert "smaller dtype" in message
    assert "check the name" not in message
