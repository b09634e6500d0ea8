"""The race's rounds: their order and bookkeeping, edge cases, and refusals."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from race_helpers import correlated, evaluations, evidence, run

from lm_eval_lora_boundary.stats.race import Race

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
