"""Averages over training seeds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from compare_helpers import answers, sweep_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_eval_lora_boundary.compare import compare
from lm_eval_lora_boundary.compare.over_seeds import over_seeds


def draws_of(values: Any, number: int, generator: np.random.Generator) -> Any:
    """Return means on bootstrap samples of documents, the same for all seeds."""
    documents = values.shape[1]
    equal = np.full(documents, 1 / documents)
    counts = generator.multinomial(documents, equal, size=number)
    return np.einsum("bn,snc->sbc", counts / documents, values)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(5, 40), st.integers(0, 10**6))
def test_the_interval_is_that_of_a_two_way_analysis_of_variance(
    seeds: int, documents: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(seeds, documents, 2)) + 0.1
    values += generator.normal(size=(seeds, 1, 2)) + generator.normal(size=(1, documents, 2))
    found = over_seeds(values.mean(axis=1), draws_of(values, 4000, generator), documents)
    # the mean squares of rows, columns and what is left, as textbooks define them
    grand = values.mean(axis=(0, 1))
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    ms_rows = documents * ((rows - grand) ** 2).sum(axis=0) / (seeds - 1)
    ms_columns = seeds * ((columns - grand) ** 2).sum(axis=0) / (documents - 1)
    left = values - rows[:, None] - columns[None] + grand
    ms_left = (left**2).sum(axis=(0, 1)) / (seeds - 1) / (documents - 1)
    number = seeds * documents
    t_rows, t_columns = (scipy.stats.t.ppf(0.975, n - 1) for n in (seeds, documents))
    square = t_rows**2 * ms_rows + t_columns**2 * np.maximum(ms_columns - ms_left, 0)
    assert found.value == pytest.approx(grand)
    assert found.deviation == pytest.approx(rows.std(axis=0, ddof=1))
    # 4,000 draws give the variances of documents within about 2.3 % (one standard error)
    allowed = 0.1 * t_columns**2 * (ms_columns + ms_left) / number
    assert np.all(np.abs((found.high - found.value) ** 2 - square / number) <= allowed)
    assert found.value - found.low == pytest.approx(found.high - found.value)


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("of_seeds", [0.0, 0.08])
def test_coverage(seeds: int, of_seeds: float) -> None:
    """Simulate 500 recipes of 0/1 scores; the standard error of a share of 95 % is 1 %."""
    generator = np.random.default_rng([seeds, int(100 * of_seeds)])
    documents, covered = 60, 0
    for _ in range(500):
        hard = generator.normal(size=(1, documents))
        shifts = of_seeds * generator.normal(size=(seeds, 1)) * 3
        cut, whole = (
            (hard + shift + generator.normal(size=(seeds, documents)) > 0).astype(float)
            for shift in (shifts, 0.0)
        )
        values = (cut - whole)[:, :, None]
        found = over_seeds(values.mean(axis=1), draws_of(values, 300, generator), documents)
        covered += found.low[0] <= 0 <= found.high[0]
    assert covered / 500 >= 0.92


def test_few_seeds_or_documents_are_refused() -> None:
    for seeds, documents in ((1, 5), (3, 1)):
        with pytest.raises(ValueError, match="at least 2 seeds and documents"):
            over_seeds(np.zeros((seeds, 1)), np.zeros((seeds, 4, 1)), documents)


def test_no_difference_in_any_draw_has_no_interval() -> None:
    found = over_seeds(np.zeros((3, 1)), np.zeros((3, 10, 1)), 20)
    assert found.value[0] == 0 and np.isnan(found.low[0]) and np.isnan(found.high[0])


@pytest.fixture
def sweeps(tmp_path: Path) -> list[Path]:
    return [
        sweep_folder(
            tmp_path / f"seed{seed}", {"task": 3}, seed=seed, documents=80, adapter=f"org/{seed}"
        )
        for seed in (1, 2, 3)
    ]


def differences(seed: int, boundary: int, documents: int = 80) -> Any:
    column, whole = (answers(documents, seed, 0.2 + 0.15 * (b + 1)) for b in (boundary, 3))
    return np.subtract(column, whole)


def test_boundaries_are_averaged_over_adapters(sweeps: list[Path]) -> None:
    comparison = compare(sweeps)
    assert [row["boundary"] for row in comparison.over_seeds] == [-1, 0, 1, 2]
    for row in comparison.over_seeds:
        values = np.array([differences(seed, row["boundary"]) for seed in (1, 2, 3)])
        assert row["differences"] == pytest.approx(values.mean(axis=1))
        assert row["difference"] == pytest.approx(values.mean())
        assert row["deviation"] == pytest.approx(values.mean(axis=1).std(ddof=1))
        assert (row["seeds"], row["documents"]) == (3, 80)
        assert row["sweeps"] == ["seed1", "seed2", "seed3"]
        # the spread over seeds is in the interval
        least = scipy.stats.t.ppf(0.975, 2) * row["deviation"] / np.sqrt(3)
        assert row["high"] - row["difference"] >= least - 1e-12
    (table,) = [t for t in comparison.tables if "minus whole adapter" in t.title]
    assert table.title == (
        "task, acc: boundary minus whole adapter, over 3 adapters and 80 documents"
    )
    assert [row[0].lines[0] for row in table.rows] == ["-1", "0", "1", "2"]
    worse = [r["boundary"] for r in comparison.over_seeds if r["high"] < 0]
    assert worse[:2] == [-1, 0]
    assert comparison.sentences[-1].startswith(
        "task: on average over 3 adapters that differ in training (seeds), and on 80 common "
        "documents, the value of a boundary is shown to be worse at -1 to "
    )
    assert any("only 3 seeds are rough" in line for line in comparison.warnings)
    assert any("training seeds of one recipe" in line for line in comparison.legend)


def test_only_common_documents_count(sweeps: list[Path], tmp_path: Path) -> None:
    short = sweep_folder(tmp_path / "short", {"task": 3}, seed=4, documents=50, adapter="org/4")
    (first, *_) = compare([*sweeps, short]).over_seeds
    assert (first["seeds"], first["documents"]) == (4, 50)
    expected = [differences(seed, -1)[:50].mean() for seed in (1, 2, 3)]
    expected.append(differences(4, -1, 50).mean())
    assert first["differences"] == pytest.approx(expected)


def edit(folder: Path, **settings: Any) -> None:
    file = folder / "sweep.json"
    content = json.loads(file.read_text())
    content["settings"] |= settings
    file.write_text(json.dumps(content))


def test_only_sweeps_of_one_recipe_are_averaged(sweeps: list[Path], tmp_path: Path) -> None:
    edit(sweeps[2], num_fewshot=4)
    comparison = compare(sweeps)
    assert {tuple(row["sweeps"]) for row in comparison.over_seeds} == {("seed1", "seed2")}
    # the same adapter again is no other seed
    again = sweep_folder(tmp_path / "again", {"task": 2}, seed=1, documents=80, adapter="org/1")
    rows = compare([*sweeps[:2], again]).over_seeds
    assert {tuple(row["sweeps"]) for row in rows} == {("seed1", "seed2")}
    edit(sweeps[1], dtype="float16")
    assert not compare(sweeps).over_seeds


def test_five_seeds_need_no_warning(tmp_path: Path) -> None:
    folders = [
        sweep_folder(tmp_path / str(seed), {"task": 3}, seed=seed, adapter=f"org/{seed}")
        for seed in range(5)
    ]
    assert not compare(folders).warnings


def test_boundaries_that_a_race_stopped_are_not_averaged(sweeps: list[Path]) -> None:
    (samples,) = (sweeps[0] / "boundary=1").glob("samples_*.jsonl")
    samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:5]))
    assert [row["boundary"] for row in compare(sweeps).over_seeds] == [-1, 0, 2]


def test_why_there_is_no_average(sweeps: list[Path]) -> None:
    for file in (sweeps[0] / "boundary=3").glob("samples_*.jsonl"):
        file.unlink()
    comparison = compare(sweeps)
    assert not comparison.over_seeds
    told = "task: no average over seed1, seed2, seed3: seed1 has no samples of the whole adapter"
    assert told in comparison.warnings
    for boundary in range(-1, 3):
        shutil.rmtree(sweeps[1] / f"boundary={boundary}")
    (sweeps[0] / "boundary=3").rename(sweeps[0] / "gone")
    assert any(
        "no boundary but the whole adapter was scored in all" in line
        for line in compare(sweeps[1:]).warnings
    )
