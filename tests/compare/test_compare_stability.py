"""How far the best boundary moves between sweeps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from compare_helpers import answers, sweep_folder
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_lora_boundary.compare import compare
from lm_eval_lora_boundary.compare.stability import format_ranges
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


def equivalent(seed: int, best: int) -> set[int]:
    """Return the boundaries that the best does not beat significantly by McNemar's test."""
    columns = {b: np.array(answers(40, seed, 0.2 + 0.15 * (b + 1))) for b in range(-1, 4)}
    result = {best}
    for boundary, column in columns.items():
        gained = int(((column == 1) & (columns[best] == 0)).sum())
        lost = int(((column == 0) & (columns[best] == 1)).sum())
        if not gained + lost or scipy.stats.binomtest(gained, gained + lost).pvalue > 0.05:
            result.add(boundary)
    return result


def numbers(text: str | None) -> set[int]:
    return set(map(int, (text or "").split()))


def test_best_boundaries_and_their_equivalents(sweeps: list[Path]) -> None:
    comparison = compare(sweeps)
    assert [(r["sweep"], r["best"], r["depth"]) for r in comparison.records] == [
        ("seed1", 3, 1.0),
        ("seed2", 2, 0.75),
        ("seed3", 3, 1.0),
    ]
    # the values rise with the boundary, so the last one is best
    expected = [equivalent(seed, 3) for seed in (1, 2, 3)]
    assert [numbers(r["equivalent"]) for r in comparison.records] == expected
    assert len(set.union(*expected)) < 5  # some boundaries are out
    assert {r["documents"] for r in comparison.records} == {40}
    assert {r["layers"] for r in comparison.records} == {4}


def test_summary_in_numbers_and_words(sweeps: list[Path]) -> None:
    comparison = compare(sweeps)
    shared = sorted(set.intersection(*(equivalent(seed, 3) for seed in (1, 2, 3))))
    cells = [cell.lines[0] for cell in comparison.tables[1].rows[0]]
    assert cells == ["task", "3", "2 to 3", "3", "75% to 100%", "100%", format_ranges(shared)]
    assert comparison.sentences == (
        "task: across 3 sweeps, the best boundary ranges from 2 to 3 (median 3) in a model of 4 "
        "layers. "
        f"Equivalent to the best one in all of them: {format_ranges(shared)}.",
    )
    for text in (comparison.to_markdown(), comparison.to_html()):
        assert comparison.sentences[0] in text
    assert [record["best"] for record in comparison.records] == [3, 2, 3]


def test_no_boundary_is_equivalent_in_all_sweeps(tmp_path: Path) -> None:
    up = sweep_folder(tmp_path / "up", {"task": 3}, documents=200)
    down = sweep_folder(tmp_path / "down", {"task": -1}, documents=200, higher_is_better=False)
    (sentence,) = compare([up, down]).sentences
    assert sentence.endswith("No boundary is equivalent to the best one in all of them.")
    assert "from -1 to 3" in sentence


def test_wins_are_averaged_over_sweeps(sweeps: list[Path]) -> None:
    for folder, win in zip(sweeps, (0.9, 0.3, 0.6), strict=True):
        rows = [{"boundary": b, "value": 0.1, "win_rate": 0.0} for b in range(-1, 4)]
        rows[-1]["win_rate"], rows[2]["win_rate"] = win, 1 - win
        edit(folder, "task", boundaries=rows)
    table = [[cell.lines[0] for cell in row] for row in compare(sweeps).tables[2].rows]
    assert [row[:4] for row in table] == [
        ["task", "3", "2 of 3", "60%"],
        ["task", "1", "0 of 3", "40%"],
        ["task", "2", "1 of 3", "0%"],
    ]


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


def test_without_results_the_equivalents_are_unknown(sweeps: list[Path]) -> None:
    for folder in sweeps[0].glob("boundary=*"):
        shutil.rmtree(folder)
    comparison = compare(sweeps)
    assert (comparison.records[0]["equivalent"], comparison.records[0]["layers"]) == (None, None)
    assert comparison.records[0]["best"] == 3
    assert [line for line in comparison.warnings if line.startswith("seed1, task: no samples")]
    assert "Equivalent" not in comparison.sentences[0]


def test_boundaries_that_a_race_stopped_are_not_equivalent(sweeps: list[Path]) -> None:
    (samples,) = (sweeps[0] / "boundary=2").glob("samples_*.jsonl")
    samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:5]))
    assert numbers(compare(sweeps).records[0]["equivalent"]) == equivalent(1, 3) - {2}


def test_different_sizes_metrics_and_versions_give_warnings(sweeps: list[Path]) -> None:
    edit(sweeps[0], "task", documents=7)
    edit(sweeps[1], "task", metric="f1,none", documents=40)
    edit(sweeps[2], "task", smallest_equivalent=-1)
    warnings = compare(sweeps).warnings
    assert "task: the sweeps used different numbers of documents (40 and 7)" in warnings
    assert "task: the sweeps used different metrics (acc,none and f1,none)" in warnings
    assert [
        line for line in warnings if "the smallest equivalent boundary is -1, according" in line
    ]


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
