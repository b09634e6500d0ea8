"""How many rows and seeds a budget gives."""

from __future__ import annotations

import pytest

from replication.plan import DATA, FULL, make_plan


def test_ten_hours_are_one_seed_and_twenty_are_two_of_the_same_rows():
    ten, twenty = make_plan(10), make_plan("20")
    assert (ten.seeds, twenty.seeds) == ((0,), (0, 1))
    assert ten.rows == twenty.rows


def test_a_smaller_budget_gives_fewer_rows():
    small, large = make_plan(2), make_plan(10)
    for data in DATA:
        for name in ("train", "choose", "test"):
            assert getattr(small.rows[data.name], name) < getattr(large.rows[data.name], name)


def test_all_rows_and_three_seeds():
    plan = make_plan(FULL)
    assert plan.seeds == (0, 1, 2)
    assert {rows.train for rows in plan.rows.values()} == {None}


def test_the_hours_of_all_data_sets_and_controls_are_about_ten():
    hours = sum(data.hours for data in DATA)
    hours += sum(data.hours for data in DATA if data.controls) * 0.25 * 2.8
    assert 9 < hours < 11


@pytest.mark.parametrize("budget", [0, -1, "nan", "inf"])
def test_other_budgets_are_refused(budget):
    with pytest.raises(ValueError, match="expected hours above 0"):
        make_plan(budget)
