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
from lm_eval_lora_boundary.compare.stability import ranges
from lm_eval_lora_boundary.errors import OutputError, TaskError


def edit(folder: Path, task: str, **entry: Any) -> None:
    file = folder / "sweep.json"
    content = json.loads(file.read_text())
    content["tasks"][task] |= entry
    file.write_text(json.dumps(content))


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [
        sweep_folder(tmp_path / f"seed{seed}", {"task": best}, seed=seed, documents=40)
        for seed, best in ((1, 3), (2, 2), (3, 3))
    ]


def equivalent(seed: int, best: int) -> set[int]:
    """Return what the best is not significantly better than, by McNemar's test."""
    columns = {b: np.array(answers(40, seed, 0.2 + 0.15 * (b + 1))) for b in range(-1, 4)}
    found = {best}
    for boundary, column in columns.items():
        gained = int(((column == 1) & (columns[best] == 0)).sum())
        lost = int(((column == 0) & (columns[best] == 1)).sum())
        if not gained + lost or scipy.stats.binomtest(gained, gained + lost).pvalue > 0.05:
            found.add(boundary)
    return found


def numbers(text: str | None) -> set[int]:
    return set(map(int, (text or "").split()))


def test_each_choice_and_its_equivalents(three: list[Path]) -> None:
    found = compare(three)
    assert [(r["sweep"], r["best"], r["depth"]) for r in found.records] == [
        ("seed1", 3, 1.0),
        ("seed2", 2, 0.75),
        ("seed3", 3, 1.0),
    ]
    # the made-up values rise with the boundary, so the last one is best
    expected = [equivalent(seed, 3) for seed in (1, 2, 3)]
    assert [numbers(r["equivalent"]) for r in found.records] == expected
    assert len(set.union(*expected)) < 5  # some boundaries are out
    assert {r["documents"] for r in found.records} == {40}
    assert {r["layers"] for r in found.records} == {4}


def test_over_sweeps_in_numbers_and_words(three: list[Path]) -> None:
    found = compare(three)
    shared = sorted(set.intersection(*(equivalent(seed, 3) for seed in (1, 2, 3))))
    cells = [cell.lines[0] for cell in found.grids[1].rows[0]]
    assert cells == ["task", "3", "2 to 3", "3", "75% to 100%", "100%", ranges(shared)]
    assert found.sentences == (
        "task: over 3 sweeps the best boundary moves from 2 to 3 (median 3), of 4 layers. "
        f"Equivalent to the best one in all of them: {ranges(shared)}.",
    )
    for text in (found.to_markdown(), found.to_html()):
        assert found.sentences[0] in text
    assert [record["best"] for record in found.records] == [3, 2, 3]


def test_no_shared_boundary_is_said(tmp_path: Path) -> None:
    up = sweep_folder(tmp_path / "up", {"task": 3}, documents=200)
    down = sweep_folder(tmp_path / "down", {"task": -1}, documents=200, higher_is_better=False)
    (sentence,) = compare([up, down]).sentences
    assert sentence.endswith("No boundary is equivalent to the best one in all of them.")
    assert "from -1 to 3" in sentence


def test_wins_are_averaged_over_sweeps(three: list[Path]) -> None:
    for folder, win in zip(three, (0.9, 0.3, 0.6), strict=True):
        rows = [{"boundary": b, "value": 0.1, "win_rate": 0.0} for b in range(-1, 4)]
        rows[-1]["win_rate"], rows[2]["win_rate"] = win, 1 - win
        edit(folder, "task", boundaries=rows)
    table = [[cell.lines[0] for cell in row] for row in compare(three).grids[2].rows]
    assert [row[:4] for row in table] == [
        ["task", "3", "2 of 3", "60%"],
        ["task", "1", "0 of 3", "40%"],
        ["task", "2", "1 of 3", "0%"],
    ]


def test_several_tasks_are_also_taken_together(tmp_path: Path) -> None:
    first = sweep_folder(tmp_path / "one", {"x": 1, "y": 3})
    second = sweep_folder(tmp_path / "two", {"x": 1})
    found = compare([first, second])
    assert [row[0].lines[0] for row in found.grids[1].rows] == ["x", "all tasks"]
    assert found.sentences[0].startswith("x: over 2 sweeps the best boundary is always 1")
    assert found.sentences[1].startswith("all tasks: over 3 choices of a sweep for a task")
    (only,) = compare([first, second], tasks=["x"]).sentences
    assert only == found.sentences[0]
    with pytest.raises(TaskError, match="tasks=z is in none of the sweeps; they have x, y"):
        compare([first, second], tasks=["z"])
    with pytest.raises(TaskError, match="metric=f1: sweeps are compared by the metric"):
        compare([first, second], metrics=["f1"])


def test_depth_counts_where_models_differ(tmp_path: Path) -> None:
    small = sweep_folder(tmp_path / "small", {"task": 1}, layers=4)
    large = sweep_folder(tmp_path / "large", {"task": 3}, layers=6)
    found = compare([small, large])
    assert [r["depth"] for r in found.records] == [2 / 4, 4 / 6]
    assert "task: models of different depth; compare the shares of depth" in found.warnings
    assert "task: the sweeps did not score the same boundaries" in found.warnings


def test_without_results_the_equivalents_are_not_known(three: list[Path]) -> None:
    for folder in three[0].glob("boundary=*"):
        shutil.rmtree(folder)
    found = compare(three)
    assert (found.records[0]["equivalent"], found.records[0]["layers"]) == (None, None)
    assert found.records[0]["best"] == 3
    assert [line for line in found.warnings if line.startswith("seed1, task: no samples")]
    assert "Equivalent" not in found.sentences[0]


def test_boundaries_that_a_race_stopped_are_out(three: list[Path]) -> None:
    (samples,) = (three[0] / "boundary=2").glob("samples_*.jsonl")
    samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:5]))
    assert numbers(compare(three).records[0]["equivalent"]) == equivalent(1, 3) - {2}


def test_other_sizes_metrics_and_versions_are_warned_of(three: list[Path]) -> None:
    edit(three[0], "task", documents=7)
    edit(three[1], "task", metric="f1,none", documents=40)
    edit(three[2], "task", smallest_equivalent=-1)
    warnings = compare(three).warnings
    assert "task: choices of different size (40, 7)" in warnings
    assert "task: choices by different metrics (acc,none, f1,none)" in warnings
    assert [line for line in warnings if "sweep.json says -1 for the smallest equivalent" in line]


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"tasks": {}}', '{"tasks": {"t": {}}}', '{"tasks": {"t": 1}}']
)
def test_a_broken_sweep_is_named(content: str, three: list[Path]) -> None:
    (three[1] / "sweep.json").write_text(content)
    with pytest.raises(OutputError, match=r"seed2/sweep\.json") as caught:
        compare(three)
    assert "\n" not in str(caught.value)


def test_one_sweep_or_a_baseline_makes_a_leaderboard(three: list[Path]) -> None:
    assert compare(three[:1]).title == compare([three[0], three[0]]).title == "Comparison"
    found = compare(three, baseline=three[0] / "boundary=3")
    assert {row["boundary"] for row in found.records} == {-1, 2, 3}


@given(st.sets(st.integers(-1, 40)))
def test_ranges_name_exactly_the_numbers(boundaries: set[int]) -> None:
    def read(text: str) -> Iterable[int]:
        for part in text.split(", ") if text else ():
            first, _, last = part.partition(" to ")
            yield from range(int(first), int(last or first) + 1)

    assert list(read(ranges(sorted(boundaries)))) == sorted(boundaries)
