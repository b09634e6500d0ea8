"""How far the best boundary moves between sweeps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from compare_helpers import sweep_folder
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_lora_boundary.compare import compare
from lm_eval_lora_boundary.compare.seed_notes import format_ranges
from lm_eval_lora_boundary.errors import OutputError, TaskError


def edit(folder: Path, task: str, **entry: Any) -> None:
    file = folder / "sweep.json"
    content = json.loads(file.read_text())
    content["tasks"][task] |= entry
    file.write_text(json.dumps(content))


@pytest.fixture
def sweeps(tmp_path: Path) -> list[Path]:
    return [
        sweep_folder(tmp_path / f"seed{seed}", {"task": best}, seed=seed, documents=40)
        for seed, best in ((1, 3), (2, 2), (3, 3))
    ]


def test_best_boundaries_and_what_sweeps_recommend(sweeps: list[Path]) -> None:
    edit(sweeps[0], "task", smallest_noninferior=1, choice=1)
    edit(sweeps[1], "task", choice="0-1+3")
    comparison = compare(sweeps)
    keys = ("sweep", "best", "depth", "smallest_noninferior", "choice", "documents", "layers")
    assert [tuple(r[key] for key in keys) for r in comparison.records] == [
        ("seed1", 3, 1.0, 1, 1, 40, 4),
        ("seed2", 2, 0.75, None, "0-1+3", 40, 4),
        ("seed3", 3, 1.0, None, 3, 40, 4),
    ]
    shown = [[cell.lines[0] for cell in row][4:] for row in comparison.tables[0].rows]
    assert [row[0] for row in shown] == ["3", "2", "3"]
    assert [row[-3:] for row in shown] == [["–", "1", "1"], ["–", "–", "0-1+3"], ["–", "–", "3"]]


def test_summary_in_numbers_and_words(sweeps: list[Path]) -> None:
    for folder, smallest in zip(sweeps, (1, 2, 0), strict=True):
        edit(folder, "task", smallest_noninferior=smallest)
    comparison = compare(sweeps)
    cells = [cell.lines[0] for cell in comparison.tables[1].rows[0]]
    assert cells == ["task", "3", "2 to 3", "3", "75% to 100%", "100%", "2"]
    assert comparison.sentences == (
        "task: across 3 sweeps, the best boundary ranges from 2 to 3 (median 3) in a model of 4 "
        "layers. Boundary 2 is the smallest shown to keep the gain in all of them.",
    )
    for text in (comparison.to_markdown(), comparison.to_html()):
        assert comparison.sentences[0] in text


@pytest.mark.parametrize(
    ("smallest", "end"),
    [
        ((1, None, 0), "A cut is shown to keep the gain in 2 of them."),
        ((1, "0+2-3", 0), "A cut is shown to keep the gain in 3 of them."),  # no common measure
        ((None, None, None), "A cut is shown to keep the gain in 0 of them."),
    ],
)
def test_the_gain_is_not_kept_in_all(smallest: Any, end: str, sweeps: list[Path]) -> None:
    for folder, cut in zip(sweeps, smallest, strict=True):
        edit(folder, "task", smallest_noninferior=cut)
    comparison = compare(sweeps)
    assert comparison.sentences[0].endswith(end)
    assert comparison.tables[1].rows[0][-1].lines == ("–",)


def test_sweeps_of_an_older_version(sweeps: list[Path]) -> None:
    for folder in sweeps:
        file = folder / "sweep.json"
        content = json.loads(file.read_text())
        entry = content["tasks"]["task"]
        del entry["smallest_noninferior"], entry["choice"]
        entry["smallest_equivalent"] = -1
        for row in entry["boundaries"]:
            row["win_rate"] = 0.2
        file.write_text(json.dumps(content))
    comparison = compare(sweeps)
    assert comparison.sentences[0].endswith("in a model of 4 layers.")
    for row in comparison.tables[0].rows:
        assert [cell.lines[0] for cell in row[-3:]] == ["–", "–", "–"]


def test_shares_are_averaged_over_sweeps(tmp_path: Path) -> None:
    folders = [
        sweep_folder(
            tmp_path / str(seed),
            {"task": best},
            seed=seed,
            shares=dict.fromkeys((-1, 0), 0.0) | {1: 0.06, 2: 0.9 - share, 3: share},
        )
        for seed, (best, share) in enumerate([(3, 0.9), (2, 0.3), (3, 0.6)])
    ]
    comparison = compare(folders)
    table = [[cell.lines[0] for cell in row] for row in comparison.tables[2].rows]
    assert table == [
        ["task", "3", "2 of 3", "60%"],
        ["task", "2", "1 of 3", "30%"],
    ]
    shares = [row["selection_share"] for row in comparison.records]
    assert shares == pytest.approx([0.9, 0.6, 0.6])
    # one sweep does not say it
    folders.append(sweep_folder(tmp_path / "old", {"task": 3}))
    table = [[cell.lines[0] for cell in row] for row in compare(folders).tables[2].rows]
    assert table == [["task", "3", "3 of 4", "–"], ["task", "2", "1 of 4", "–"]]


def test_several_tasks_are_also_summarised_together(tmp_path: Path) -> None:
    first = sweep_folder(tmp_path / "one", {"x": 1, "y": 3})
    second = sweep_folder(tmp_path / "two", {"x": 1})
    comparison = compare([first, second])
    assert [row[0].lines[0] for row in comparison.tables[1].rows] == ["x", "all tasks"]
    assert comparison.sentences[0].startswith("x: across 2 sweeps, the best boundary is always 1")
    assert comparison.sentences[1].startswith("all tasks: across 3 pairs of sweep and task, the")
    (only,) = compare([first, second], tasks=["x"]).sentences
    assert only == comparison.sentences[0]
    with pytest.raises(TaskError, match="tasks=z is not in any of the sweeps; they have x, y"):
        compare([first, second], tasks=["z"])
    with pytest.raises(TaskError, match="metric=f1: sweeps are compared by the metric"):
        compare([first, second], metrics=["f1"])


def test_models_of_different_depth_are_compared_by_depth(tmp_path: Path) -> None:
    small = sweep_folder(tmp_path / "small", {"task": 1}, layers=4)
    large = sweep_folder(tmp_path / "large", {"task": 3}, layers=6)
    comparison = compare([small, large])
    assert [r["depth"] for r in comparison.records] == [2 / 4, 4 / 6]
    assert (
        "task: the models have different numbers of layers; compare the depths"
        in comparison.warnings
    )
    assert "task: the sweeps did not score the same boundaries" in comparison.warnings


def test_without_results_the_depth_is_unknown(sweeps: list[Path]) -> None:
    for folder in sweeps[0].glob("boundary=*"):
        shutil.rmtree(folder)
    row = compare(sweeps).records[0]
    assert (row["layers"], row["depth"], row["documents"], row["best"]) == (None, None, None, 3)


def test_different_sizes_and_metrics_give_warnings(sweeps: list[Path]) -> None:
    edit(sweeps[0], "task", documents=7)
    edit(sweeps[1], "task", metric="f1,none", documents=40)
    warnings = compare(sweeps).warnings
    assert "task: the sweeps used different numbers of documents (40 and 7)" in warnings
    assert "task: the sweeps used different metrics (acc,none and f1,none)" in warnings


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"tasks": {}}', '{"tasks": {"t": {}}}', '{"tasks": {"t": 1}}']
)
def test_a_broken_sweep_is_named(content: str, sweeps: list[Path]) -> None:
    (sweeps[1] / "sweep.json").write_text(content)
    with pytest.raises(OutputError, match=r"seed2/sweep\.json") as caught:
        compare(sweeps)
    assert "\n" not in str(caught.value)


def test_one_sweep_or_a_baseline_gives_a_leaderboard(sweeps: list[Path]) -> None:
    assert compare(sweeps[:1]).title == compare([sweeps[0], sweeps[0]]).title == "Comparison"
    comparison = compare(sweeps, baseline=sweeps[0] / "boundary=3")
    assert {row["boundary"] for row in comparison.records} == {-1, 2, 3}


@given(st.sets(st.integers(-1, 40)))
def test_ranges_cover_exactly_the_boundaries(boundaries: set[int]) -> None:
    def parse(text: str) -> Iterable[int]:
        for part in text.split(", ") if text else ():
            first, _, last = part.partition(" to ")
            yield from range(int(first), int(last or first) + 1)

    assert list(parse(format_ranges(sorted(boundaries)))) == sorted(boundaries)


NOTHING = "no difference between boundaries was measured on 40 documents; all boundaries score 0"


def test_sweeps_that_chose_nothing_are_left_out(sweeps: list[Path]) -> None:
    edit(sweeps[0], "task", best=-1, not_chosen=NOTHING)
    comparison = compare(sweeps)
    warning = f"{sweeps[0]}: no cut was chosen on task: {NOTHING}"
    assert warning in comparison.warnings
    assert [record["sweep"] for record in comparison.records] == ["seed2", "seed3"]
    assert comparison.sentences[0].startswith("task: across 2 sweeps, the best boundary ranges fro")
    edit(sweeps[1], "task", best=-1, not_chosen=NOTHING)
    comparison = compare(sweeps)
    assert warning in comparison.warnings
    assert not comparison.sentences
    (table,) = comparison.tables
    assert [row[0].lines[0] for row in table.rows] == ["seed3"]
    for text in (comparison.to_markdown(), comparison.to_html()):
        assert "always" not in text


def test_only_the_tasks_that_a_sweep_chose_on_are_summarised(tmp_path: Path) -> None:
    first = sweep_folder(tmp_path / "one", {"x": 1, "y": -1})
    second = sweep_folder(tmp_path / "two", {"x": 1, "y": -1})
    for folder in (first, second):
        edit(folder, "y", not_chosen=NOTHING)
    comparison = compare([first, second])
    assert [row[0].lines[0] for row in comparison.tables[1].rows] == ["x"]
    assert len(comparison.sentences) == 1
    with pytest.raises(TaskError, match="there is no best boundary to compare"):
        compare([first, second], tasks=["y"])


def test_sweeps_that_all_chose_nothing_are_refused_in_one_line(sweeps: list[Path]) -> None:
    for folder in sweeps:
        edit(folder, "task", best=-1, not_chosen=NOTHING)
    with pytest.raises(TaskError, match=f"no cut was chosen on task: {NOTHING}") as caught:
        compare(sweeps)
    assert "\n" not in str(caught.value)
