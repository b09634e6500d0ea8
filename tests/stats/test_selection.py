"""The best boundary of made-up scores with a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from lm_eval_lora_boundary.errors import TaskError
from lm_eval_lora_boundary.stats.margin import Margin
from lm_eval_lora_boundary.stats.scores import Scores
from lm_eval_lora_boundary.stats.selection import STATISTICS, Selection, describe, select
from lm_eval_lora_boundary.stats.statistic import Means, statistic

BOUNDARIES = list(range(-1, 6))
FULL = 5
TENTH = Margin(0.1, is_share=True)


def scores(values: np.ndarray, *, higher_is_better: bool = True) -> Scores:
    return Scores(BOUNDARIES, values.mean(axis=0).tolist(), Means(values), higher_is_better)


def right(rates: list[float], documents: int = 200) -> np.ndarray:
    """Return right or wrong; a document that is right at one rate is right at higher ones too."""
    ability = (np.arange(documents) + 0.5) / documents
    return (ability[:, None] < np.array(rates)).astype(float)


def found(rates: list[float], **options: bool) -> Selection:
    return select(scores(right(rates), **options), FULL, TENTH)


def test_the_smallest_of_the_best_is_chosen_and_low_boundaries_collapse() -> None:
    selection = found([0.3, 0.05, 0.1, 0.5, 0.6, 0.6, 0.6])
    assert selection.best == 3
    assert selection.collapse == 2
    row = selection.rows[BOUNDARIES.index(3)]
    # as good on these documents, which does not prove it on all
    assert row["delta_full"] == 0
    assert -0.03 < row["ci_low"] < -0.005 and row["ci_high"] == -row["ci_low"]
    whole = selection.rows[BOUNDARIES.index(FULL)]
    assert whole["delta_full"] == whole["ci_low"] == whole["ci_high"] == 0
    assert row["p_value"] == row["p_simultaneous"] == 1
    assert row["delta_base"] == pytest.approx(0.3)
    assert row["base_ci_low"] < 0.3 < row["base_ci_high"]
    assert row["value_low"] < 0.6 < row["value_high"]
    assert row["gain_kept"] == pytest.approx(1)
    # three share the best value of every half, and none ever has all of it
    assert row["selection_share"] == pytest.approx(1 / 3, abs=0.01)
    low = selection.rows[BOUNDARIES.index(0)]
    assert 0 < low["selection_share"] < 0.2
    assert low["p_value"] < 1e-6 and low["p_simultaneous"] < 0.001
    assert low["gain_kept"] == pytest.approx(-0.25 / 0.3)
    assert low["p_noninferior"] == 1
    assert low["simultaneous_low"] < low["ci_low"] < low["ci_high"] < low["simultaneous_high"] < 0


def test_lower_can_be_better() -> None:
    selection = found([0.6, 0.5, 0.2, 0.1, 0.1, 0.3, 0.4], higher_is_better=False)
    assert selection.best == 2
    assert selection.collapse == 0
    assert selection.rows[1]["selection_share"] < 0.2
    assert selection.rows[3]["gain_kept"] == pytest.approx(0.5 / 0.2)
    assert selection.rows[3]["p_noninferior"] < 0.001
    assert selection.optimism is not None and selection.optimism["corrected"] >= 0.1


def test_one_document_gives_values_and_nothing_else() -> None:
    selection = select(scores(right([0.0, 0, 0, 1, 1, 0, 1], documents=1)), FULL)
    assert selection.best == 2
    assert selection.collapse is selection.optimism is None
    for row in selection.rows:
        assert row.keys() == set(STATISTICS)
        assert all(row[name] is None for name in STATISTICS if not name.startswith("delta"))


def test_statistics_that_need_whole_adapter_or_base_may_be_missing() -> None:
    values = right([0.3, 0.5, 0.4])
    selection = select(Scores([1, 2, 3], values.mean(axis=0).tolist(), Means(values), True), FULL)
    assert selection.best == 2
    for row in selection.rows:
        assert row["delta_full"] is row["ci_low"] is row["p_value"] is row["delta_base"] is None
        assert row["selection_share"] is not None
    assert selection.optimism is not None and selection.optimism["p_value"] is None


def test_a_value_that_is_missing_is_never_the_best() -> None:
    values = [0.1, float("nan"), 0.3, 0.2, 0.1, 0.1, 0.1]
    selection = select(Scores(BOUNDARIES, values, None, True), FULL)
    assert selection.best == 1
    assert selection.rows[1]["delta_full"] is None
    assert selection.rows[2]["delta_full"] == pytest.approx(0.2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_boundary_without_a_finite_value_does_not_affect_the_others(
    bad: float, higher_is_better: bool
) -> None:
    values = np.random.default_rng(0).random((50, 7))
    values[3, 1] = bad
    reported = values.mean(axis=0).tolist()
    made = statistic("loss", [list(column) for column in values.T], reported, np.mean)  # type: ignore[arg-type]
    selection = select(Scores(BOUNDARIES, reported, made, higher_is_better), FULL, TENTH)
    assert selection.best != 0 and selection.optimism is not None
    assert all(selection.rows[1][name] is None for name in STATISTICS)
    others = [i for i in range(7) if i != 1]
    for i in others:
        # the ends of the interval of the gain kept are not finite if there may be no gain
        certain = {name for name in STATISTICS if not name.startswith("gain_kept_")}
        if BOUNDARIES[i] == FULL:  # it is not asked how much of its own gain it keeps
            certain -= {"gain_kept", "p_noninferior", "difference_low", "difference_high"}
        assert {name for name in certain if selection.rows[i][name] is not None} == certain
    # as if it had never been scored
    without = select(
        Scores(
            [BOUNDARIES[i] for i in others],
            [reported[i] for i in others],
            Means(values[:, others]),
            higher_is_better,
        ),
        FULL,
        TENTH,
    )
    assert without.rows == [selection.rows[i] for i in others]
    assert without.optimism == selection.optimism


def test_without_any_finite_value_nothing_is_chosen() -> None:
    nothing = Scores(BOUNDARIES, [float("nan")] * 7, None, True, "acc,none of task")
    with pytest.raises(TaskError, match="acc,none of task is nan under every cut"):
        select(nothing, FULL)
    # on the test split, this is no reason to fail
    assert all(row["delta_full"] is None for row in describe(nothing, FULL))


def test_a_boundary_that_is_undefined_in_some_draws_has_no_statistics() -> None:
    def rate(items: list[tuple[int, int]]) -> float:
        return sum(a for a, b in items) / sum(b for a, b in items)

    columns = [[(int(i % 3 == k), 1) for i in range(20)] for k in range(3)]
    columns.append([(0, int(i == 0)) for i in range(20)])  # without document 0: divided by zero
    reported = [rate(column) for column in columns]
    made = statistic("rate", columns, reported, rate)  # type: ignore[arg-type]
    selection = select(Scores([0, 1, 2, 3], reported, made, True), 2)
    assert selection.best == 0
    assert (
        selection.rows[0]["ci_low"] is not None and selection.rows[0]["selection_share"] is not None
    )
    assert (
        selection.rows[3]["delta_full"] is not None and selection.rows[3]["selection_share"] is None
    )


def test_collapse_considers_only_scored_boundaries() -> None:
    values = right([0.2, 0.2, 0.25, 0.6, 0.62])
    boundaries = [-1, 10, 11, 20, 29]
    rates = values.mean(axis=0).tolist()
    assert select(Scores(boundaries, rates, Means(values), True), 29).collapse == 11


def test_equal_boundaries_have_no_optimism() -> None:
    selection = found([0.5] * 7)
    assert selection.optimism is not None and selection.optimism["value"] == 0
    assert selection.optimism["corrected"] == 0.5


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_optimism_is_never_negative_and_corrects_towards_worse(
    seed: int, higher_is_better: bool
) -> None:
    generator = np.random.default_rng(seed)
    values = generator.random((40, 7)) + np.linspace(0, 0.3 * (seed % 3), 7)
    selection = select(scores(values, higher_is_better=higher_is_better), FULL)
    assert selection.optimism is not None
    value, corrected = selection.optimism["value"], selection.optimism["corrected"]
    best = values.mean(axis=0)[BOUNDARIES.index(selection.best)]
    assert value is not None and value >= 0
    assert corrected == pytest.approx(best - value if higher_is_better else best + value)
