"""Which files are used, and which rows they give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from compare_helpers import answers, first_mean, rows, write

from lm_eval_lora_boundary.compare import compare

RIGHT = {"acc,none": answers(10, 1, 0.9)}
WRONG = {"acc,none": answers(10, 1, 0.1)}


def test_the_newest_file_in_a_folder_is_used(tmp_path: Path) -> None:
    old = write(tmp_path, {"task": WRONG})
    write(tmp_path, {"task": RIGHT})
    comparison = compare([tmp_path])
    assert rows(comparison) == [("base", "task", first_mean(RIGHT))]
    assert [line for line in comparison.warnings if f"ignored {old}" in line]
    # an old file that is named is used
    assert compare([old]).records[0]["value"] == first_mean(WRONG)
    assert len(compare([old, tmp_path]).records) == 2


def test_only_tasks_with_newer_results_are_replaced(tmp_path: Path) -> None:
    write(tmp_path, {"one": WRONG, "two": WRONG})
    write(tmp_path, {"one": RIGHT})
    comparison = compare([tmp_path])
    assert rows(comparison) == [
        ("base", "one", first_mean(RIGHT)),
        ("base", "two", first_mean(WRONG)),
    ]
    assert [line for line in comparison.warnings if line.startswith("ignored one of ")]


def test_boundaries_in_one_folder_are_separate_models(tmp_path: Path) -> None:
    args = {"pretrained": "org/base", "peft": "org/lora"}
    for boundary in (3, 5):
        cut = {"boundary": boundary, "num_layers": 8, "kept_parameters": 100 * boundary}
        write(tmp_path, {"task": RIGHT}, args=args | {"boundary": boundary}, cut=cut)
    comparison = compare([tmp_path])
    assert not comparison.warnings
    assert {(r["label"], r["boundary"], r["kept_parameters"]) for r in comparison.records} == {
        ("lora boundary=3", 3, 300),
        ("lora boundary=5", 5, 500),
    }


@pytest.mark.parametrize(
    "cuts",
    [
        [{"boundary": 3, "adapter_sha256": "abc"}, {"boundary": 3, "adapter_sha256": "def"}],
        [{"boundary": 3}, {"boundary": 5}],
    ],
)
def test_a_retrained_or_differently_cut_adapter_is_another_model(
    cuts: list[dict[str, Any]], tmp_path: Path
) -> None:
    for cut in cuts:
        args = {"pretrained": "org/base", "peft": "org/lora", "boundary": "auto"}
        write(tmp_path, {"task": RIGHT}, args=args, cut=cut)
    comparison = compare([tmp_path])
    assert len({row["label"] for row in comparison.records}) == 2
    assert not comparison.warnings


def test_the_first_metric_with_a_direction_is_the_default(tmp_path: Path) -> None:
    items = {"length,none": [2.0] * 10, "acc,none": RIGHT["acc,none"], "f1,none": [0.5] * 10}
    write(tmp_path, {"task": items}, directions={"length": None})
    assert [row["metric"] for row in compare([tmp_path]).records] == ["acc"]
    (length,) = compare([tmp_path], metrics=["length"]).records
    assert length["higher_is_better"] is None


def test_runs_of_one_model_on_different_tasks_share_a_row(tmp_path: Path) -> None:
    write(tmp_path / "x", {"one": RIGHT})
    write(tmp_path / "y", {"two": WRONG})
    comparison = compare([tmp_path / "x", tmp_path / "y"], baseline=tmp_path / "y")
    assert len(comparison.tables[0].rows) == 1
    # two results for one task need two rows
    write(tmp_path / "z", {"two": RIGHT})
    again = compare([tmp_path], baseline=tmp_path / "y")
    assert len(again.tables[0].rows) == 2
    assert len({row[0].lines for row in again.tables[0].rows}) == 2


def test_a_file_that_is_given_twice_gives_one_row(tmp_path: Path) -> None:
    file = write(tmp_path / "out", {"task": RIGHT})
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "out")
    comparison = compare([file, file.parent, tmp_path / "out", link], baseline=file)
    assert len(comparison.records) == 1


def test_a_baseline_from_another_folder_comes_first(tmp_path: Path) -> None:
    write(tmp_path / "x", {"task": RIGHT}, args={"pretrained": "x"})
    write(tmp_path / "y", {"task": WRONG}, args={"pretrained": "y"})
    comparison = compare([tmp_path / "x"], baseline=tmp_path / "y")
    assert [row[0].lines[0] for row in comparison.tables[0].rows] == ["y", "x"]
    assert comparison.tables[0].rows[0][3].lines[1] == "baseline"


def test_a_renamed_results_file_still_finds_its_samples(tmp_path: Path) -> None:
    file = write(tmp_path, {"task": RIGHT})
    other = file.with_name(file.name.replace("results_", "mine_"))
    file.rename(other)
    assert compare([other]).records[0]["interval"] == "Wilson"  # needs samples


def test_tasks_are_selected_by_name_pattern_or_group(tmp_path: Path) -> None:
    write(tmp_path, {"one": RIGHT, "other": WRONG, "two": RIGHT})
    assert [row[1] for row in rows(compare([tmp_path], tasks=["two", "o*"]))] == [
        "two",
        "one",
        "other",
    ]
    (file,) = tmp_path.rglob("results_*.json")
    content = json.loads(file.read_text())
    content["group_subtasks"] = {"all": ["one", "inner"], "inner": ["two"]}
    file.write_text(json.dumps(content))
    assert [row[1] for row in rows(compare([tmp_path], tasks=["all"]))] == ["one", "two"]


def test_old_files_without_most_keys_are_read(tmp_path: Path) -> None:
    content = {"results": {"task": {"acc,none": 0.5, "acc_stderr,none": "N/A"}}, "config": None}
    (tmp_path / "results_2024.json").write_text(json.dumps(content))
    (row,) = compare([tmp_path]).records
    assert (row["label"], row["value"], row["interval"]) == ("unknown", 0.5, "")
    content["config"] = {"model": "vllm", "model_args": "pretrained=org/base,dtype=auto"}
    (tmp_path / "results_2024.json").write_text(json.dumps(content))
    (row,) = compare([tmp_path]).records
    assert (row["label"], row["model"], row["pretrained"]) == ("base", "vllm", "org/base")


def test_nan_is_shown_as_not_available(tmp_path: Path) -> None:
    file = write(tmp_path, {"task": RIGHT})
    content = json.loads(file.read_text())
    content["results"]["task"]["acc,none"] = float("nan")
    file.write_text(json.dumps(content))
    comparison = compare([tmp_path])
    assert comparison.tables[0].rows[0][3].lines == ("n/a",)
    assert comparison.records[0]["low"] is None


@pytest.mark.parametrize("hidden", [".writing-x", ".cache/y"])
def test_hidden_folders_are_not_searched(hidden: str, tmp_path: Path) -> None:
    write(tmp_path, {"task": RIGHT})
    write(tmp_path / hidden, {"task": WRONG}, args={"pretrained": "other"})
    assert [row["label"] for row in compare([tmp_path]).records] == ["base"]
