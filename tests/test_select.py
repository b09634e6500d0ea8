"""Which boundary: on made-up scores whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from lm_eval_lora_boundary.select import STATISTICS, Scores, Selection, select
from lm_eval_lora_boundary.statistic import Means

BOUNDARIES = list(range(-1, 6))
FULL = 5


def scores(values: np.ndarray, *, higher_is_better: bool = True) -> Scores:
    return Scores(BOUNDARIES, values.mean(axis=0).tolist(), Means(values), higher_is_better)


def right(rates: list[float], documents: int = 200) -> np.ndarray:
    """Return right or wrong: a document that one rate gets right, higher rates get right too."""
    ability = (np.arange(documents) + 0.5) / documents
    return (ability[:, None] < np.array(rates)).astype(float)


def found(rates: list[float], **options: bool) -> Selection:
    return select(scores(right(rates), **options), FULL)


def test_the_smallest_of_the_best_is_chosen_and_low_boundaries_collapse() -> None:
    selection = found([0.3, 0.05, 0.1, 0.5, 0.6, 0.6, 0.6])
    assert selection.best == 3
    assert selection.collapse == 2
    assert selection.smallest_equivalent == 3
    row = selection.rows[BOUNDARIES.index(3)]
    assert row["delta_full"] == row["ci_low"] == row["ci_high"] == 0
    assert row["p_value"] == row["p_holm"] == 1
    assert row["delta_base"] == pytest.approx(0.3)
    assert row["base_ci_low"] < 0.3 < row["base_ci_high"]
    assert row["win_rate"] == 1
    low = selection.rows[BOUNDARIES.index(0)]
    assert low["loss_risk"] == 1 and low["win_rate"] == 0
    assert low["p_value"] <= low["p_holm"] < 1e-6
    assert low["simultaneous_low"] < low["ci_low"] < low["ci_high"] < low["simultaneous_high"] < 0


def test_the_smallest_that_is_not_worse_is_the_cheap_choice() -> None:
    rates = [0.3, 0.3, 0.3, 0.595, 0.6, 0.605, 0.6]
    selection = found(rates)
    assert selection.best == 4
    assert selection.smallest_equivalent == 2
    assert selection.optimism is not None
    assert selection.optimism["corrected"] < 0.605
    assert selection.optimism["value"] > 0
    assert selection.optimism["p_value"] > 0.05


def test_lower_can_be_better() -> None:
    selection = found([0.6, 0.5, 0.2, 0.1, 0.1, 0.3, 0.4], higher_is_better=False)
    assert selection.best == 2
    assert selection.collapse == 0
    assert selection.rows[1]["loss_risk"] == 1
    assert selection.rows[3]["loss_risk"] == 0
    assert selection.optimism is not None and selection.optimism["corrected"] >= 0.1


def test_one_document_gives_values_and_nothing_else() -> None:
    selection = select(scores(right([0.0, 0, 0, 1, 1, 0, 1], documents=1)), FULL)
    assert selection.best == 2
    assert selection.smallest_equivalent is selection.collapse is selection.optimism is None
    for row in selection.rows:
        assert row.keys() == set(STATISTICS)
        assert all(row[name] is None for name in STATISTICS if not name.startswith("delta"))


def test_without_full_adapter_or_base_what_needs_them_is_left_out() -> None:
    values = right([0.3, 0.5, 0.4])
    selection = select(Scores([1, 2, 3], values.mean(axis=0).tolist(), Means(values), True), FULL)
    assert selection.best == 2
    for row in selection.rows:
        assert row["delta_full"] is row["ci_low"] is row["p_holm"] is row["delta_base"] is None
        assert row["win_rate"] is not None
    assert selection.optimism is not None and selection.optimism["p_value"] is None


def test_a_value_that_is_missing_is_never_the_best() -> None:
    values = [0.1, float("nan"), 0.3, 0.2, 0.1, 0.1, 0.1]
    selection = select(Scores(BOUNDARIES, values, None, True), FULL)
    assert selection.best == 1
    assert selection.rows[1]["delta_full"] is None
    assert selection.rows[2]["delta_full"] == pytest.approx(0.2)
