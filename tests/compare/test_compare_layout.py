"""Which files are used, which rows they give, and how the rows are labelled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from compare_helpers import answers, first_mean, sweep_folder, write
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_lora_boundary.compare import Comparison, compare
from lm_eval_lora_boundary.compare.labels import differing_parts, labels, shortest_suffixes
from lm_eval_lora_boundary.compare.runs import Run
from lm_eval_lora_boundary.files import file_name

RIGHT = {"acc,none": answers(10, 1, 0.9)}
WRONG = {"acc,none": answers(10, 1, 0.1)}


def rows(comparison: Comparison) -> list[tuple[str, str, float]]:
    return [(row["label"], row["task"], row["value"]) for row in comparison.records]


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


def run(args: dict[str, Any], folder: str = "out", boundary: int | None = None) -> Run:
    return Run(
        files=(Path(folder) / "results_x.json",),
        model="hf",
        args=args,
        settings={},
        boundary=boundary,
        layers=None,
        kept_parameters=None,
        tasks={},
        subtasks={},
    )


def test_labels_show_what_differs() -> None:
    same = {"pretrained": "org/base", "peft": "org/lora"}
    runs = [run({**same, "dtype": d, "revision": "main"}) for d in ("float32", "bfloat16")]
    assert labels(runs) == ["lora, dtype=float32", "lora, dtype=bfloat16"]
    assert labels([run({"peft": "a/x"}), run({"peft": "b/x"})]) == ["a/x", "b/x"]
    assert labels([run(same, "out/a/m"), run(same, "out/b/m")]) == ["lora, a", "lora, b"]
    assert labels([run(same), run(same)]) == ["lora", "lora #2"]


texts = st.sampled_from(["a", "b", "a/a", "b/a", "a/b", "/a", "", "a #2", "a, x=1"])


@given(
    st.lists(
        st.builds(
            run,
            st.dictionaries(st.sampled_from(["peft", "pretrained", "x"]), texts),
            texts,
            st.sampled_from([None, -1, 3]),
        ),
        max_size=6,
    )
)
def test_labels_are_unique(runs: list[Run]) -> None:
    assert len(set(labels(runs))) == len(runs)


@given(st.lists(texts.filter(bool), min_size=1, max_size=6, unique=True))
def test_shortened_paths_stay_distinct(paths: list[str]) -> None:
    distinct = len({Path(path) for path in paths})
    assert len(set(shortest_suffixes(paths))) == distinct
    assert len(set(differing_parts(paths))) == distinct


@pytest.mark.parametrize("hidden", [".writing-x", ".cache/y"])
def test_hidden_folders_are_not_searched(hidden: str, tmp_path: Path) -> None:
    write(tmp_path, {"task": RIGHT})
    write(tmp_path / hidden, {"task": WRONG}, args={"pretrained": "other"})
    assert [row["label"] for row in compare([tmp_path]).records] == ["base"]
