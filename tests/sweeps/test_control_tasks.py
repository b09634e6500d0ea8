"""Control tasks: scored under the same cuts, and the fifth question."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm_eval_lora_boundary.errors import TaskError
from lm_eval_lora_boundary.report.control_tasks import control_tasks
from lm_eval_lora_boundary.sweeps.control_tasks import with_controls

Run = Callable[..., dict[str, Any]]


@pytest.mark.usefixtures("fast_tasks")
def test_controls_have_the_scores_of_a_sweep_of_their_own(run: Run, tmp_path: Path) -> None:
    found = run(
        "tiny_choices",
        control="tiny_text,tiny_words",
        family="upper,each",
        split="validation",
        confirm=False,
    )
    controls = found["control_tasks"]
    assert list(controls) == ["tiny_text", "tiny_words"]
    assert "control tiny_text,tiny_words" in found["signature"]
    alone = run("tiny_text,tiny_words", "alone", family="upper,each", confirm=False)
    for name, entry in controls.items():
        expected = alone["tasks"][name]
        assert entry["metric"] == expected["metric"]
        values = [row["value"] for row in entry["boundaries"]]
        assert values == [row["value"] for row in expected["boundaries"]]
        assert len(entry["boundaries"]) + len(entry["cuts"]) == len(
            found["tasks"]["tiny_choices"]["boundaries"]
        ) + sum(
            row["boundary"] is None
            for row in found["tasks"]["tiny_choices"]["families"]["each"]["cuts"]
        )
    assert controls["tiny_text"]["split"] == "validation"
    assert not controls["tiny_text"]["higher_is_better"]
    for row in entry["cuts"]:
        assert list((tmp_path / f"out/control/cut={row['cut']}").glob("results_*.json"))
    plots = {path.name for path in (tmp_path / "out/plots/tiny_choices").glob("control*.svg")}
    assert plots == {"control.svg", "control_2.svg"}
    assert "What cuts do to tiny_text" in (tmp_path / "out/report.html").read_text("utf-8")
    read = control_tasks(json.loads((tmp_path / "out/sweep.json").read_text()), tmp_path)
    assert [each.name for each in read] == ["tiny_text", "tiny_words"]
    # without controls, what earlier ones left is removed
    run("tiny_choices", family="upper,each", split="validation", confirm=False, force=True)
    assert not (tmp_path / "out/control").exists()
    assert not list((tmp_path / "out/plots/tiny_choices").glob("control*"))


@pytest.mark.usefixtures("fast_tasks")
def test_a_task_of_the_sweep_is_no_control(run: Run) -> None:
    with pytest.raises(TaskError, match="tiny_words is a task of the sweep itself"):
        run("tiny_words", control="tiny_words")


def row(boundary: int, value: float, p: float | None = None) -> dict[str, Any]:
    delta = value - 0.4
    return {
        "boundary": boundary,
        "value": value,
        "delta_full": delta,
        "simultaneous_low": delta - 0.05,
        "simultaneous_high": delta + 0.05,
        "p_simultaneous": p,
    }


def answered(noninferior: list[int], p: float, higher: bool = True) -> dict[str, Any]:
    entry = {"not_chosen": None, "answers": {}, "noninferior": noninferior}
    rows = [row(-1, 0.5, 0.01), row(1, 0.45, p), row(2, 0.43, 0.2), row(3, 0.4, 1.0)]
    control = {
        "metric": "acc,none",
        "higher_is_better": higher,
        "split": "test",
        "documents": 300,
        "boundaries": rows,
        "cuts": [],
    }
    (answer,) = with_controls(entry, {"hellaswag": control}, 3)["answers"].values()
    return dict(answer)


def test_the_best_of_the_cuts_that_keep_the_gain_answers() -> None:
    answer = answered([1, 2], 0.01)
    assert answer["shown"] and answer["cut"] == 1
    assert answer["value"] == pytest.approx(0.05)
    assert answer["question"].startswith("Which cut is best on hellaswag")
    assert answer["sentence"] == (
        "Boundary 1 has 0.450 on 300 test documents, against acc 0.400 with the whole adapter and "
        "0.500 with the base model: +0.050 [0.000, +0.100], p = 0.010, corrected for all cuts."
    )
    assert answered([1, 2], 0.3)["sentence"].startswith("Not shown with 300 test documents: ")
    assert not answered([1, 2], 0.3)["shown"]
    assert answered([2], 0.01)["cut"] == 2  # boundary 1 is better, but does not keep the gain


def test_without_a_cut_that_keeps_the_gain_the_whole_adapter_answers() -> None:
    answer = answered([], 0.01)
    assert answer["cut"] == 3 and not answer["shown"]
    assert "no smaller cut is shown to keep the gain" in answer["sentence"]
    lower = answered([1, 2], 0.01, higher=False)
    assert lower["cut"] == 3
    assert "no smaller cut that keeps the gain scores better (2 compared)" in lower["sentence"]
