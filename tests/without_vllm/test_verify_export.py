"""`export --verify vllm`, with a stand-in for vLLM that computes rightly, or wrongly as asked.

The real engine is tested in `tests/with_vllm`, in an environment of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandResult, command_line
from tiny_models import LAYERS

from lm_eval_lora_boundary.errors import LoraBoundaryError, ModelError, OutputError
from lm_eval_lora_boundary.exports.api import export
from lm_eval_lora_boundary.vllm import export_engine
from lm_eval_lora_boundary.vllm.export_engine import VllmEngine
from lm_eval_lora_boundary.vllm.prompt_scores import prompt_scores


@pytest.fixture
def in_process(installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer in this process, which is faster."""
    monkeypatch.setattr(export_engine, "_run", lambda request: prompt_scores(**request))


def run(models: tuple[Path, Path], output: Path, *words: str) -> CommandResult:
    base, adapter = models
    return command_line(
        *("export", "--pretrained", str(base), "--peft", str(adapter), "--device", "cpu"),
        *("--verify", "vllm", *words, str(output)),
    )


def verify(models: tuple[Path, Path], output: Path, fault: str = "", **settings: Any) -> Any:
    base, adapter = models
    settings = {"boundary": 1, "dtype": "float32", "device": "cpu"} | settings
    engine = VllmEngine({"fault": fault} if fault else {})
    return export(str(base), adapter, output=output, verify=engine, **settings)["engine"]


def test_the_command_starts_vllm_and_says_what_it_found(
    installed: None, tiny: Any, tmp_path: Path
) -> None:
    done = run(tiny(), tmp_path / "out", "--boundary", "1", "--dtype", "float32")
    assert done.code == 0, done.err
    assert "verified in vLLM: its log-probabilities differ from PEFT's by up to " in done.out
    assert "(float32, vllm=0.32.0); the cut changes them by up to " in done.out
    assert "--max-lora-rank 16" in done.out
    facts = json.loads((tmp_path / "out/lora_boundary_export.json").read_text())
    assert facts["engine"]["largest_difference"] < 1e-5
    assert facts["engine"]["base_difference"] < 1e-5
    assert facts["engine"]["effect"] > 0.1
    assert "vLLM computes the same" in (tmp_path / "out/README.md").read_text()


def test_if_vllm_stops_its_last_error_and_its_messages_are_named(
    installed: None, tiny: Any, tmp_path: Path
) -> None:
    done = run(tiny(), tmp_path / "out", "--boundary", "1", "--vllm-args", "fault=stop")
    assert done.code == 2
    (line,) = [line for line in done.err.splitlines() if "error: " in line]
    assert len(line) < 600
    assert "vLLM stopped with status 1: RuntimeError: a kernel is missing. All" in line
    log = Path(line.partition("messages are in ")[2].partition(".log")[0] + ".log")
    assert "Traceback" in log.read_text()
    log.unlink()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("settings", [{}, {"keep": "all@0.5", "boundary": None}, {"merge": True}])
def test_a_faithful_engine_passes(
    settings: dict[str, Any], in_process: None, tiny: Any, tmp_path: Path
) -> None:
    found = verify(tiny(), tmp_path / "out", **settings)
    assert found["largest_difference"] < 1e-5
    assert ("effect" in found) != ("merge" in settings)


@pytest.mark.parametrize(
    ("fault", "settings", "reason"),
    [
        ("drop", {}, "vLLM ignored the adapter"),
        ("part", {}, "a part of the adapter only, or scaled it differently"),
        ("half", {}, "a part of the adapter only, or scaled it differently"),
        ("base", {}, "already without the adapter"),
        ("base", {"merge": True}, "computes the merged checkpoint differently"),
        ("nan", {}, "differ by up to inf"),
        # the cut's effect is within what bfloat16 may differ by, but far above its noise here
        ("drop", {"keep": "all@0.02", "boundary": None, "dtype": "bfloat16"}, "ignored the"),
    ],
)
def test_a_wrong_engine_is_found_and_nothing_is_written(
    fault: str,
    settings: dict[str, Any],
    reason: str,
    in_process: None,
    tiny: Any,
    tmp_path: Path,
) -> None:
    with pytest.raises(OutputError, match=r"nothing was written: .*prompt \d, token \d") as caught:
        verify(tiny(), tmp_path / "out", fault, **settings)
    assert reason in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_experts_in_another_order_are_found(in_process: None, tiny: Any, tmp_path: Path) -> None:
    models = tiny("mixtral")
    assert verify(models, tmp_path / "right")["largest_difference"] < 1e-5
    with pytest.raises(OutputError, match="lays out the LoRA of fused experts differently"):
        verify(models, tmp_path / "wrong", "permute")


@pytest.mark.parametrize("fault", ["", "drop"])
def test_a_cut_that_is_too_weak_is_not_called_verified(
    fault: str, in_process: None, tiny: Any, tmp_path: Path
) -> None:
    weak = {"keep": "all@0.0001", "boundary": None, "dtype": "bfloat16"}
    with pytest.raises(OutputError, match=r"cannot be told: .*--dtype float32"):
        verify(tiny(), tmp_path / "out", fault, **weak)
    assert not list(tmp_path.iterdir())
    finer = weak | {"dtype": "float32"}
    if fault:
        with pytest.raises(OutputError, match="ignored the adapter"):
            verify(tiny(), tmp_path / "out", fault, **finer)
    else:
        assert verify(tiny(), tmp_path / "out", fault, **finer)["largest_difference"] < 1e-5


def test_without_vllm_one_line_says_what_to_install(tiny: Any, tmp_path: Path) -> None:
    done = run(tiny(), tmp_path / "out", "--boundary", "1")
    assert done.code == 2
    (line,) = [line for line in done.err.splitlines() if "error: " in line]
    assert "--verify vllm needs vllm; install it with: pip install " in line
    assert "'lm-eval-lora-boundary[vllm]', or leave it out" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--verify", "sglang"), "--verify sglang: expected vllm"),
        (("--model-args", "gguf_file=x.gguf"), "read from a GGUF file.* merge"),
        (("--model-args", "subfolder=x"), "is in a subfolder"),
    ],
)
def test_what_cannot_be_verified_is_refused_at_once(
    words: tuple[str, ...], message: str, installed: None, tiny: Any, tmp_path: Path
) -> None:
    done = run(tiny(), tmp_path / "out", "--boundary", "1", *words)
    assert done.code == 2
    assert message.partition(".*")[0] in done.err and message.rpartition(".*")[2] in done.err


def test_arguments_of_vllm_need_vllm(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    done = command_line(
        *("export", "--pretrained", str(base), "--peft", str(adapter), "--boundary", "1"),
        *("--vllm-args", "seed=1", str(tmp_path / "out")),
    )
    assert done.code == 2
    assert "--vllm-args is for --verify vllm" in done.err


def test_a_loaded_model_can_be_verified_merged_only(
    in_process: None, tiny: Any, tmp_path: Path
) -> None:
    from tiny_models import tiny_model

    _, adapter = tiny()
    settings = {"device": "cpu", "verify": VllmEngine()}
    with pytest.raises(ModelError, match="was passed as a loaded model"):
        export(tiny_model(), adapter, LAYERS - 1, tmp_path / "out", **settings)
    model = tiny_model()
    facts = export(model, adapter, LAYERS - 1, tmp_path / "out", merge=True, **settings)
    assert facts["engine"]["largest_difference"] < 1e-5


def test_the_rules_come_first(in_process: None, tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(LoraBoundaryError, match=r"vLLM cannot load this adapter: .*DoRA"):
        verify(tiny(use_dora=True), tmp_path / "out")
