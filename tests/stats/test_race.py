"""The race compared with a full sweep: error rate and savings."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from race_helpers import correlated, evaluations, evidence, run, tied

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
