"""The race compared with a full sweep: error rate, savings and refusals."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_eval_lora_boundary.stats.aggregates import Array
from lm_eval_lora_boundary.stats.betting import Bets
from lm_eval_lora_boundary.stats.race import Race

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "race.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("race_benchmark", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(matrix: Array, *, boundaries: Sequence[int] | None = None, **options: Any) -> Race:
    """Run a race on a matrix of shape (documents, boundaries) until it is done."""
    boundaries = boundaries or range(matrix.shape[1])
    race = Race(boundaries, len(matrix), **options)
    columns = dict(zip(boundaries, matrix[race.order].T, strict=True))
    for documents in race.rounds:
        race.update({boundary: columns[boundary][:documents] for boundary in race.live})
        if race.done:
            break
    return race


def evaluations(race: Race) -> int:
    """Return how many evaluations of one document under one boundary a finished race took."""
    decided = len(race.live) == 1 and race.dropped
    seen = race.dropped[-1].documents if decided else race.rounds[-1]
    return sum(dropped.documents for dropped in race.dropped) + len(race.live) * seen


def correlated(documents: int, shifts: Sequence[float], seed: int) -> Array:
    """Return 0/1 scores of boundaries that agree on most documents."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=(documents, 1)) + 0.3 * rng.normal(size=(documents, len(shifts)))
    return (difficulty < np.array(shifts)).astype(np.float64)


def tied(boundaries: int) -> Array:
    """Return 0/1 scores with the same mean for every boundary, but on different documents."""
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation([1.0, 0.0] * 30) for _ in range(boundaries)], axis=1)


# --- soundness


@pytest.mark.parametrize("error_rate", [0.1, 0.5])
@pytest.mark.parametrize(
    "population",
    [
        tied(4),
        # two boundaries that differ on few documents
        np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3 + [[1.0, 1.0]] * 54),
        # many small losses, few large wins
        np.array([[0.0, 0.1]] * 54 + [[1.0, 0.1]] * 6),
        # the same, without bounds
        10 + np.array([[0.0, 0.2]] * 40 + [[1.0, 0.6]] * 20),
    ],
    ids=["permuted", "few differ", "skewed", "unbounded"],
)
def test_error_rate_if_all_are_tied(population: Array, error_rate: float) -> None:
    """The hardest case: the choice, boundary 0, is no better than the others."""
    assert population.sum(axis=0) == pytest.approx(population[:, 0].sum())
    replays = 400
    wrong = sum(
        0 not in run(population, error_rate=error_rate, seed=seed).live for seed in range(replays)
    )
    noise = math.sqrt(error_rate * (1 - error_rate) / replays)
    assert wrong / replays <= error_rate + 3 * noise
    # a race that never drops anything would also pass the check above
    assert wrong > 0


def nearly_equal(boundaries: int) -> Array:
    """Return 0/1 scores of boundaries that agree on most documents; the first has one more."""
    rng = np.random.default_rng(1)
    agreed = rng.permutation([1.0, 0.0] * 24)[:, None].repeat(boundaries, axis=1)
    differ = np.stack([rng.permutation([1.0, 0.0] * 6) for _ in range(boundaries)], axis=1)
    differ[np.flatnonzero(differ[:, 0] == 0)[0], 0] = 1
    return np.concatenate([agreed, differ])


def test_error_rate_if_the_best_is_hardly_better() -> None:
    population = nearly_equal(12)
    assert population.sum(axis=0).tolist() == [31.0] + [30.0] * 11
    replays, error_rate = 400, 0.2
    wrong = sum(
        0 not in run(population, error_rate=error_rate, seed=seed).live for seed in range(replays)
    )
    noise = math.sqrt(error_rate * (1 - error_rate) / replays)
    assert 0 < wrong / replays <= error_rate + 3 * noise


@settings(deadline=None)
@given(
    st.integers(0, 10_000), st.integers(2, 60), st.floats(0, 0.4), st.sampled_from([0.0, 0.1, 0.5])
)
def test_a_tiny_error_rate_never_drops_the_best(
    seed: int, documents: int, step: float, noise: float
) -> None:
    rng = np.random.default_rng(seed)
    values = np.arange(5) * step + rng.random((documents, 1)) + noise * rng.normal(size=5)
    population = np.clip(values + noise * rng.normal(size=values.shape), 0, 1)
    race = run(population, error_rate=1e-12, seed=seed)
    assert int(population.sum(axis=0).argmax()) in race.live


def evidence(values: Array, documents: int, limits: Array) -> Array:
    """Return the evidence against each boundary after some of the documents."""
    bets = Bets(values.shape[1], documents)
    bets.play(values, limits)
    return bets.evidence


def limits_by_range(values: Array) -> Array:
    """Return twice the range before each document, and after the last."""
    return 2 * np.array([0.0, *(np.ptp(values[:i]) for i in range(1, len(values) + 1))])


@settings(deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.sampled_from([0.05, 0.3, 0.9]))
def test_a_round_drops_according_to_the_evidence(
    seed: int, bounded: bool, error_rate: float
) -> None:
    values = correlated(17, [-1.0, 0.0, 0.5, 2.0], seed)
    if not bounded:
        values = 3 * values + np.random.default_rng(seed).exponential(size=(17, 1))
    race = Race(range(4), 100, error_rate=error_rate)
    race.rounds = [17, 100]
    race.update(dict(enumerate(values.T)))
    p_values = np.exp(-evidence(values, 100, np.ones(18) if bounded else limits_by_range(values)))
    behind = values.sum(axis=0) < values.sum(axis=0).max()
    assert [dropped.cut for dropped in race.dropped] == [
        k for k in range(4) if p_values[k] <= error_rate and behind[k]
    ]
    for dropped in race.dropped:
        assert dropped.p_value == pytest.approx(p_values[dropped.cut])


def test_bets_go_on_among_the_cuts_that_are_left() -> None:
    values = correlated(40, [-1.0, 0.0, 0.1, 0.2], seed=8)
    race = Race(range(4), 60, error_rate=0.2)
    race.rounds = [20, 40, 60]
    race.update(dict(enumerate(values[:20].T)))
    live = race.live
    assert 1 < len(live) < 4
    race.update({k: values[:, k] for k in live})
    bets = Bets(4, 60)
    bets.play(values[:20], np.ones(21))
    bets.keep(np.isin(range(4), live))
    bets.play(values[20:, live], np.ones(21))
    later = {dropped.cut: dropped for dropped in race.dropped if dropped.documents == 40}
    for i, cut in enumerate(live):
        out = bets.evidence[i] >= math.log(5) and bets.totals[i] < bets.totals.max()
        assert out == (cut in later)
        if out:
            assert later[cut].p_value == pytest.approx(math.exp(-bets.evidence[i]))


def test_evidence_without_a_lead_drops_nothing() -> None:
    # boundary 1 falls behind so far that it would be out, and then draws level
    values = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
    race = Race([0, 1], 9, error_rate=0.9)
    assert race.rounds == [6, 9]
    assert evidence(values, 9, np.ones(7))[1] > -math.log(0.9)
    assert race.update({0: values[:, 0], 1: values[:, 1]}) == []


def test_a_value_beyond_1_voids_what_was_won_within_0_and_1() -> None:
    values = np.array([[0.3, 0.5]] * 4 + [[3.0, 3.5]] + [[0.0, 2.0]] * 15)
    race = Race([0, 1], 100, error_rate=0.3)
    race.rounds = [4, 20, 100]
    assert race.update({0: values[:4, 0], 1: values[:4, 1]}) == []
    (dropped,) = race.update({0: values[:, 0], 1: values[:, 1]})
    # the first four documents count again, within the limits that their own range suggests
    expected = evidence(values, 100, limits_by_range(values))[0]
    assert dropped.p_value == pytest.approx(math.exp(-expected))
    within_1 = evidence(values, 100, np.ones(21))[0]
    assert abs(within_1 - expected) > 0.1


# --- savings


@pytest.mark.parametrize(("documents", "at_least"), [(200, 2.6), (1000, 3.0)])
def test_savings_on_a_plateau_of_near_ties(
    benchmark: ModuleType, documents: int, at_least: float
) -> None:
    _, boundaries, population = benchmark.synthetic("plateau", 2000)
    accuracy = population.mean(axis=0)
    assert accuracy[0] < 0.15 and accuracy[-10:].min() > 0.57  # about 0.1 and 0.6
    rng = np.random.default_rng(0)
    same, saved, regret = np.array(
        [
            benchmark.replay(
                population[rng.integers(2000, size=documents)], boundaries, 0.2, True, seed
            )
            for seed in range(30)
        ]
    ).T
    assert same.mean() >= 0.8
    assert np.median(saved) >= at_least
    assert regret.mean() <= 0.005


def test_a_higher_error_rate_needs_fewer_evaluations() -> None:
    population = correlated(300, [-1.5, -1, -0.5, 0, 0.4, 0.5, 0.5, 0.5], seed=1)
    spent = [evaluations(run(population, error_rate=rate)) for rate in (0.01, 0.1, 0.5)]
    assert sorted(spent, reverse=True) == spent
    assert spent[0] > 1.1 * spent[-1]


def test_one_clear_winner_ends_the_race_early() -> None:
    race = run(correlated(500, [0.0, 0.0, 0.0, 1.5], seed=2))
    assert race.live == [3]
    assert race.done
    assert evaluations(race) < 4 * 500 / 5
    assert [dropped.leader for dropped in race.dropped] == [3, 3, 3]


# --- bookkeeping


@given(st.integers(1, 3000), st.integers(0, 5))
def test_order_and_rounds(documents: int, seed: int) -> None:
    race = Race([0, 1], documents, seed=seed)
    assert sorted(race.order) == list(range(documents))
    assert race.order == Race([0, 1], documents, seed=seed).order
    assert race.rounds[-1] == documents
    assert min(documents, 6) <= race.rounds[0] <= 8
    assert all(a + 3 <= b <= max(a + 3, 1.1 * a + 1) for a, b in pairwise(race.rounds))


def test_seeds_give_different_orders() -> None:
    assert Race([0], 100, seed=1).order != Race([0], 100, seed=2).order


@settings(deadline=None)
@given(
    st.lists(st.floats(-2, 2), min_size=1, max_size=6),
    st.integers(1, 150),
    st.integers(0, 1000),
    st.sampled_from([0.05, 0.5, 0.9]),
)
def test_bookkeeping_of_every_round(
    shifts: list[float], documents: int, seed: int, error_rate: float
) -> None:
    population = correlated(documents, shifts, seed)
    boundaries = range(-1, len(shifts) - 1)
    race = Race(boundaries, documents, error_rate=error_rate)
    columns = dict(zip(boundaries, population[race.order].T, strict=True))
    for n in race.rounds:
        before = race.live
        values = {boundary: columns[boundary][:n] for boundary in before}
        now = race.update(values)
        assert sorted([*race.live, *(dropped.cut for dropped in now)]) == before
        leader = min(before, key=lambda k: (-values[k].sum(), k))
        assert leader in race.live
        for dropped in now:
            assert (dropped.documents, dropped.leader) == (n, leader)
            expected = values[dropped.cut].mean() - values[leader].mean()
            assert dropped.difference == pytest.approx(expected)
            assert dropped.difference < 0
            assert 0 <= dropped.p_value <= error_rate
        if n == documents:
            assert now == []
    assert race.done
    assert sorted([*race.live, *(dropped.cut for dropped in race.dropped)]) == list(boundaries)


def test_lower_is_better() -> None:
    population = correlated(200, [-1, 0, 0.5, 1], seed=3)
    race = run(population)
    mirrored = run(1 - population, higher_is_better=False)
    assert race.dropped
    assert mirrored.live == race.live
    for mirror, dropped in zip(mirrored.dropped, race.dropped, strict=True):
        assert mirror.difference == pytest.approx(-dropped.difference) and mirror.difference > 0
        assert (mirror.cut, mirror.documents) == (dropped.cut, dropped.documents)
        assert mirror.p_value == pytest.approx(dropped.p_value)


def test_unbounded_metrics_do_not_depend_on_units() -> None:
    rng = np.random.default_rng(4)
    population = rng.normal(size=(150, 1)) + 0.3 * rng.normal(size=(150, 4)) + np.arange(4) / 8
    races = [run(population), run(1000 + 64 * population)]
    assert races[0].dropped
    for ours, theirs in zip(races[0].dropped, races[1].dropped, strict=True):
        assert (ours.cut, ours.documents) == (theirs.cut, theirs.documents)
        assert ours.p_value == pytest.approx(theirs.p_value)


# --- degenerate values


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_identical_boundaries_stay_or_go_together(scale: float) -> None:
    good, bad = correlated(200, [1.0, -1.0], seed=5).T * scale
    race = run(np.stack([good, bad, good, bad], axis=1))
    assert race.live == [0, 2]
    assert [dropped.cut for dropped in race.dropped] == [1, 3]
    assert race.dropped[0].documents == race.dropped[1].documents
    assert race.rounds[-1] == 200 and evaluations(race) > 2 * 200


@pytest.mark.parametrize("value", [0.0, 1.0, -7.5])
def test_all_values_equal(value: float) -> None:
    race = run(np.full((100, 3), value), error_rate=0.9)
    assert race.live == [0, 1, 2]
    assert evaluations(race) == 3 * 100


@pytest.mark.parametrize("step", [0.3, 30.0])
def test_a_constant_difference_needs_some_documents(step: float) -> None:
    constant = np.tile([0.1, 0.1 + step], (200, 1))
    race = run(constant)
    (dropped,) = race.dropped
    assert (dropped.cut, dropped.leader) == (0, 1)
    assert dropped.difference == pytest.approx(-step)
    assert 6 <= dropped.documents <= 60
    # zero variance does not mean certainty
    few = evidence(constant[:3], 200, np.ones(4) * max(1, 2 * step))
    assert few[0] < math.log(1 / 0.05)


@pytest.mark.parametrize("documents", [1, 2, 7])
def test_fewer_documents_than_a_first_round(documents: int) -> None:
    race = run(np.tile([0.0, 1.0], (documents, 1)))
    assert race.rounds == [documents]
    assert race.live == [0, 1]
    assert race.done


def test_one_boundary() -> None:
    race = Race([5], 40)
    assert race.done
    for n in race.rounds:
        assert race.update({5: np.zeros(n)}) == []
    assert race.live == [5] and race.dropped == []


# --- refusals


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    race = Race([0, 1], 100)
    values = np.zeros(race.rounds[0])
    broken = values.copy()
    broken[2] = value
    with pytest.raises(
        ValueError, match=rf"cut 1 has the value {value} on document {race.order[2]};"
    ):
        race.update({0: values, 1: broken})
    race.update({0: values, 1: values})  # a refused update does not change the race


@pytest.mark.parametrize(
    ("keys", "length", "message"),
    [
        ([0], None, r"live cuts \[0, 1\]; got \[0\]"),
        ([0, 1, 2], None, r"live cuts \[0, 1\]; got \[0, 1, 2\]"),
        ([0, 1], 3, r"cut 0: expected \d+ values; got shape \(3,\)"),
    ],
)
def test_missing_and_unexpected_values_are_refused(
    keys: list[int], length: int | None, message: str
) -> None:
    race = Race([0, 1], 100)
    with pytest.raises(ValueError, match=message):
        race.update({key: np.zeros(length or race.rounds[0]) for key in keys})


def test_no_update_after_the_last_round() -> None:
    race = run(np.zeros((20, 2)))
    with pytest.raises(ValueError, match="all rounds are over"):
        race.update({0: np.zeros(20), 1: np.zeros(20)})


@pytest.mark.parametrize(
    ("boundaries", "documents", "error_rate", "message"),
    [
        ([], 10, 0.05, "at least one"),
        ([1, 1], 10, 0.05, "distinct"),
        ([1], 0, 0.05, "one document"),
        ([1], 10, 0.0, "error rate"),
        ([1], 10, 1.0, "error rate"),
        ([1], 10, math.nan, "error rate"),
    ],
)
def test_invalid_arguments_are_refused(
    boundaries: list[int], documents: int, error_rate: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Race(boundaries, documents, error_rate=error_rate)


# --- the benchmark


def test_benchmark_reads_sweeps(
    benchmark: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = correlated(60, [-1.0, 0.0, 1.5], seed=6)
    for boundary, column in zip((-1, 4, 10), answers.T, strict=True):
        folder = tmp_path / f"boundary={boundary}"
        folder.mkdir()
        # an older run of the same sweep, a second filter, and documents in another order
        (folder / "samples_a_task_2026-01-02T03-04-05.1.jsonl").write_text("{}\n")
        rows = [
            {"doc_id": i, "filter": name, "metrics": ["acc"], "acc": value}
            for name, sign in (("none", 1), ("other", 0))
            for i, value in reversed(list(enumerate((sign * column).tolist())))
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "samples_a_task_2026-11-23T23-02-50.140293.jsonl").write_text(text)
    name, boundaries, values = benchmark.read_sweep(tmp_path, None, None, None)
    assert name.endswith("a_task acc (none)")
    assert boundaries == [-1, 4, 10]
    assert (values == answers).all()

    arguments = [str(tmp_path), "--replays", "5", "--documents", "80", "--error-rate", "0.1"]
    monkeypatch.setattr(sys, "argv", ["race.py", *arguments])
    benchmark.main()
    header, _, line = capsys.readouterr().out.splitlines()
    assert "3 boundaries, 5 samples of 80 of 60 documents" in header
    assert line.split()[:2] == ["0.1", "100.0%"]
    with pytest.raises(SystemExit, match="expected --task, one of a_task"):
        benchmark.read_sweep(tmp_path, "b_task", None, None)
    with pytest.raises(SystemExit, match="no metric f1"):
        benchmark.read_sweep(tmp_path, None, "f1", None)
