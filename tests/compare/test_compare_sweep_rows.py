"""Which rows a sweep gives among other results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from compare_helpers import answers, rows, sweep_folder, write

from lm_eval_lora_boundary.compare import compare
from lm_eval_lora_boundary.files import file_name


def test_a_sweep_gives_base_best_and_whole_adapter(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "sweep", {"task": 2})
    comparison = compare([folder], baseline=folder / "boundary=3")
    assert [(r["boundary"], r["role"]) for r in comparison.records] == [
        (-1, "base"),
        (2, "best"),
        (3, "whole adapter"),
    ]
    assert comparison.records[1]["p_value"] is not None
    assert [
        line for line in comparison.warnings if "chosen on these same documents of task" in line
    ]
    assert [r["boundary"] for r in compare([folder / "boundary=1"]).records] == [1]
    assert rows(compare([folder / "sweep.json"])) == rows(compare([folder]))


def test_tasks_may_have_different_best_boundaries(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "sweep", {"one": 2, "two": 3})
    comparison = compare([folder], tasks=["one"])
    assert [(r["boundary"], r["role"]) for r in comparison.records] == [
        (-1, "base"),
        (2, "best of one"),
        (3, "best of two, whole adapter"),
    ]


@pytest.mark.parametrize("task", ["task", "a task: or two"])
def test_a_confirmed_choice_is_shown_on_the_confirming_documents(task: str, tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "sweep", {task: 2}, test={"split": "test"})
    confirmed = folder / "test" / file_name(task)
    sweep_folder(confirmed, {task: 2}, documents=30)
    (confirmed / "sweep.json").unlink()
    comparison = compare([folder])
    assert [row["documents"] for row in comparison.records] == [30, 30, 30]
    assert not comparison.warnings


def test_a_confirmed_task_never_shows_the_documents_it_was_chosen_on(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "sweep", {"one": 2, "two": 1})
    content = json.loads((folder / "sweep.json").read_text())
    content["tasks"]["one"]["test"] = {"split": "test"}
    (folder / "sweep.json").write_text(json.dumps(content))
    sweep_folder(folder / "test/one", {"one": 2}, documents=30)
    (folder / "test/one/sweep.json").unlink()
    # boundary 1 is best for the other task only, so it was not confirmed for this one
    shutil.rmtree(folder / "test/one/boundary=1")
    comparison = compare([folder])
    shown = {(row["task"], row["boundary"]): row["documents"] for row in comparison.records}
    assert shown == {
        **{("one", boundary): 30 for boundary in (-1, 2, 3)},
        **{("two", boundary): 20 for boundary in (-1, 1, 2, 3)},
    }


def test_a_group_with_a_confirmed_task_is_left_out(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "s", {"one": 2, "two": 2})
    for boundary in (-1, 2, 3):
        cut = {"boundary": boundary, "num_layers": 4, "kept_parameters": boundary + 1}
        args = {"pretrained": "org/base", "peft": "org/lora", "boundary": boundary}
        shared: Any = {"model": "lora_boundary", "args": args, "cut": cut}
        items = {task: {"acc,none": answers(20, 3, 0.5)} for task in ("one", "two")}
        groups = {"both": {"acc,none": 0.5}}
        file = write(tmp_path / "tmp", items, groups=groups, **shared)
        shutil.rmtree(folder / f"boundary={boundary}")
        shutil.move(file.parent, folder / f"boundary={boundary}")
        file = write(tmp_path / "tmp", {"one": {"acc,none": answers(30, 4, 0.5)}}, **shared)
        shutil.move(file.parent, folder / f"test/one/boundary={boundary}")
    assert {row["task"] for row in compare([folder]).records} == {"one", "two", "both"}
    content = json.loads((folder / "sweep.json").read_text())
    content["tasks"]["one"]["test"] = {"split": "test"}
    (folder / "sweep.json").write_text(json.dumps(content))
    comparison = compare([folder])
    assert {row["task"] for row in comparison.records} == {"one", "two"}
    assert any(
        "both is left out: its value is from the documents" in w for w in comparison.warnings
    )
    assert {row["task"] for row in compare([folder], tasks=["both"]).records} == {"one", "two"}


def test_sweeps_among_results_are_labelled(tmp_path: Path) -> None:
    first, second = (sweep_folder(tmp_path / name, {"task": 1}) for name in ("s1", "s2"))
    write(tmp_path / "hf", {"task": {"acc,none": answers(20, 3, 0.5)}})
    names = [row["label"] for row in compare([first, second, tmp_path / "hf"]).records]
    assert names == [
        *(f"lora in s1 boundary={b}" for b in ("-1 (base)", "1 (best)", "3 (whole adapter)")),
        *(f"lora in s2 boundary={b}" for b in ("-1 (base)", "1 (best)", "3 (whole adapter)")),
        "base",
    ]
