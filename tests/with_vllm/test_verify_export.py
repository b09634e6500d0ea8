"""`export --verify vllm` with the real vLLM: what it accepts, and what it finds.

The differences that are asserted here are those that the limits in ``exports/engine_check.py`` were
chosen by.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_adapter, tiny_model, tiny_tokenizer

Models = Callable[..., tuple[Path, Path]]
FP32 = ("--dtype", "float32")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Return a function that returns a base model that vLLM has kernels for, and its adapter."""

    def make(architecture: str = "llama", *, experts: int = 0, **config: Any) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp(architecture)
        more = {"num_local_experts": experts, "num_experts_per_tok": 2} if experts else {}
        base = tiny_model(
            architecture, hidden_size=128, intermediate_size=192, num_attention_heads=2,
            num_key_value_heads=1, head_dim=64, **more,
        )  # fmt: skip
        base.save_pretrained(folder / "base")
        tiny_tokenizer().save_pretrained(folder / "base")
        return folder / "base", save_adapter(folder / "adapter", base, r=8, **config)

    return make


def export(
    run: Any, models: tuple[Path, Path], output: Path, *words: str, status: int = 0
) -> dict[str, Any] | str:
    """Return what was found, or the one line that says why nothing was written."""
    base, adapter = models
    done = run(
        *("-m", "lm_eval_lora_boundary", "export", "--pretrained", str(base)),
        *("--peft", str(adapter), "--device", "cpu", "--verify", "vllm", *words, str(output)),
        status=status,
    )
    if status:
        assert not output.exists()
        (line,) = [each for each in done.stderr.splitlines() if "error: " in each]
        return str(line)
    facts = json.loads((output / "lora_boundary_export.json").read_text())
    assert "verified in vLLM" in done.stdout
    found: dict[str, Any] = facts["engine"]
    return found


@pytest.mark.parametrize(
    ("words", "largest"),
    [
        (("--boundary", "1", "--dtype", "float32"), 1e-4),
        (("--keep", "all@0.5", "--dtype", "float32"), 1e-4),
        (("--boundary", "1", "--dtype", "float32", "--merge"), 1e-4),
        (("--boundary", "1", "--dtype", "bfloat16"), 1.0),
        (("--boundary", "1", "--dtype", "bfloat16", "--merge"), 1.0),
        (("--boundary", "1", "--dtype", "float16"), 0.2),
    ],
)
def test_cuts_are_verified(
    words: tuple[str, ...], largest: float, run: Any, made: Models, tmp_path: Path
) -> None:
    found = export(run, made(), tmp_path / "out", *words)
    assert isinstance(found, dict)
    assert 0 < found["largest_difference"] < largest
    assert "--merge" in words or found["effect"] > 5


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"target_modules": ["q_proj", "lm_head"]}, ()),
        ({"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"k_proj": 3}}, ()),
        # with LoRA, vLLM runs experts on GPUs only (docs/upstream.md)
        ({"architecture": "mixtral", "experts": 4}, ("--merge",)),
    ],
    ids=str,
)
def test_adapters_are_verified(
    config: dict[str, Any], words: tuple[str, ...], run: Any, made: Models, tmp_path: Path
) -> None:
    found = export(run, made(**config), tmp_path / "out", "--keep", "all", *words, *FP32)
    assert isinstance(found, dict)
    assert 0 < found["largest_difference"] < 1e-4


@pytest.mark.parametrize(
    ("config", "words", "reason"),
    [
        # vLLM leaves out, without a word, what these do not name
        (
            {"target_modules": ["q_proj"]},
            (*FP32, "--vllm-args", '{"lora_target_modules": ["o_proj"]}'),
            "vLLM ignored the adapter",
        ),
        (
            {},
            (*FP32, "--vllm-args", '{"lora_target_modules": ["o_proj"]}'),
            "applied a part of the adapter only",
        ),
        ({}, (*FP32, "--vllm-args", "no_such_argument=1"), "no_such_argument"),
        ({}, ("--dtype", "bfloat16", "--keep", "all@0.001"), "cannot be told"),
    ],
    ids=str,
)
def test_what_is_wrong_is_found(
    config: dict[str, Any],
    words: tuple[str, ...],
    reason: str,
    run: Any,
    made: Models,
    tmp_path: Path,
) -> None:
    cut = () if "--keep" in words else ("--keep", "all")
    line = export(run, made(**config), tmp_path / "out", *cut, *words, status=2)
    assert isinstance(line, str)
    assert reason in line and "nothing was written" in line
