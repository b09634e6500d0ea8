"""Sweeps that score only the boundaries that a trace suggests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import LAYERS

from lm_eval_lora_boundary.errors import LoraBoundaryError
from lm_eval_lora_boundary.sweeps import candidates
from lm_eval_lora_boundary.sweeps.plan import plan
from lm_eval_lora_boundary.sweeps.settings import SweepSettings
from lm_eval_lora_boundary.traces.layer_map import boundaries_to_try

Tiny = Callable[..., tuple[Path, Path]]


def settings(**changed: Any) -> SweepSettings:
    values: dict[str, Any] = {"pretrained": "base", "peft": "adapter", "tasks": ("a", "b")}
    return SweepSettings(**(values | {"candidates": "trace"} | changed))


def entry(low: int | None, high: int | None, candidate: int | None) -> dict[str, Any]:
    found = {"candidate": candidate, "candidate_low": low, "candidate_high": high}
    return found | {"layers": [{}] * 30, "verdict": "made up"}


def test_windows_of_all_tasks_the_base_and_the_adapter_are_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    asked = []
    tasks = {"a": entry(9, 12, 10), "b": entry(27, 28, 27)}
    monkeypatch.setattr(
        candidates, "run_trace", lambda trace, _, **__: asked.append(trace) or {"tasks": tasks}
    )
    traced = settings(limit=7, num_fewshot=2, batch_size=64)
    found = candidates.traced_boundaries(traced, tmp_path)
    assert found == ",".join(map(str, [-1, *range(6, 16), *range(24, 30)]))
    assert (asked[0].limit, asked[0].num_fewshot, asked[0].batch_size) == (7, 2, None)
    tasks["a"] = entry(3, 28, None)
    caplog.clear()
    with caplog.at_level("INFO", "lm_eval.lora_boundary"):
        assert candidates.traced_boundaries(settings(), tmp_path) is None
    assert "trace of a: made up" in caplog.text and "trace of b: made up" in caplog.text


def test_a_sweep_with_candidates_writes_the_trace_and_scores_its_window(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "WINDOW", 0)
    found = run("tiny_choices", output=".", candidates="trace")
    trace = json.loads((tmp_path / "trace.json").read_text())["tasks"]["tiny_choices"]
    assert found["settings"]["candidates"] == "trace"
    assert "| candidates trace" in found["signature"]
    scored = [row["boundary"] for row in found["tasks"]["tiny_choices"]["boundaries"]]
    window = set(range(-1, LAYERS))
    if trace["candidate"] is not None:
        window = {*range(trace["candidate_low"], trace["candidate_high"] + 1)}
    assert scored == sorted({-1, LAYERS - 1} | window)
    assert "trace_and_sweep" in str(list((tmp_path / "plots").rglob("*.png")))


def test_a_sweep_with_a_gradient_scores_what_it_suggests(run: Any, tmp_path: Path) -> None:
    found = run("tiny_choices", output=".", candidates="gradient")
    trace = json.loads((tmp_path / "trace.json").read_text())["tasks"]["tiny_choices"]
    scored = [row["boundary"] for row in found["tasks"]["tiny_choices"]["boundaries"]]
    assert scored == boundaries_to_try(trace["gradient"])
    assert f"| candidates gradient ({','.join(map(str, scored))}) |" in found["signature"]


def test_the_suggestions_for_all_tasks_are_scored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def gradient(suggested: int) -> dict[str, Any]:
        found = {"suggested": suggested, "suggested_by_curve": suggested, "layers": [{}] * 30}
        return entry(None, None, None) | {"gradient": found}

    asked = []
    tasks = {"a": gradient(9), "b": gradient(20)}
    monkeypatch.setattr(
        candidates, "run_trace", lambda trace, _, **__: asked.append(trace) or {"tasks": tasks}
    )
    with caplog.at_level("INFO", "lm_eval.lora_boundary"):
        found = candidates.traced_boundaries(settings(candidates="gradient"), tmp_path)
    assert found == "-1,7,9,11,18,20,22,29"
    assert (asked[0].gradient, asked[0].measure) == (True, False)
    assert "gradient of a: boundaries -1, 7, 9, 11, 29" in caplog.text


def test_a_plan_names_the_gradient(tiny: Tiny, task_folder: Path, tmp_path: Path) -> None:
    base, adapter = map(str, tiny())
    planned = settings(
        candidates="gradient",
        **{"pretrained": base, "peft": adapter, "tasks": ("tiny_choices",), "device": "cpu"},
        include_path=str(task_folder),
    )
    lines = plan(planned, tmp_path / "out").splitlines()
    first = next(i for i, line in enumerate(lines) if line == "What it would compute:") + 1
    assert lines[first].startswith("  first a gradient, and then only the 5 boundaries")
    assert lines[first + 1].startswith("  5 cuts of 4 layers")
    assert not (tmp_path / "out").exists()


def test_boundaries_and_candidates_exclude_each_other() -> None:
    with pytest.raises(LoraBoundaryError, match="candidates=trace chooses the boundaries, and"):
        settings(boundaries="0-9")
    with pytest.raises(LoraBoundaryError, match="candidates=gradient chooses the boundaries, and"):
        settings(candidates="gradient", boundaries="0-9")
    with pytest.raises(LoraBoundaryError, match="candidates='guess' cannot be used; expected all"):
        settings(candidates="guess")
