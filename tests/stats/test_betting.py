"""Capital won by betting against cuts: its mean over all orders, and a plain second version."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lm_eval_lora_boundary.stats.aggregates import Array
from lm_eval_lora_boundary.stats.betting import BOLDNESS, MOST, PRIOR_SQUARE, Bets


def matrices(
    values: st.SearchStrategy[float], *, documents: tuple[int, int], cuts: tuple[int, int]
) -> st.SearchStrategy[Array]:
    return st.tuples(st.integers(*documents), st.integers(*cuts)).flatmap(
        lambda shape: st.lists(values, min_size=math.prod(shape), max_size=math.prod(shape)).map(
            lambda flat: np.array(flat, dtype=np.float64).reshape(shape)
        )
    )


# sums of eighths are exact, so that no rounding decides who leads
EIGHTHS = st.integers(0, 8).map(lambda n: n / 8)


def bets_on(scores: Array, documents: int) -> Bets:
    """Return the bets after some documents with scores within 0 and 1."""
    bets = Bets(scores.shape[1], documents)
    bets.play(scores, np.ones(len(scores) + 1))
    return bets


@settings(max_examples=25, deadline=None)
@given(matrices(st.sampled_from([0.0, 0.3, 1.0]), documents=(1, 5), cuts=(2, 4)))
# floating point: 0.3 + 0.3 + 1 != 1 + 0.3 + 0.3
@example(np.array([[0.3, 0.0], [0.3, 1.0], [1.0, 0.3], [0.0, 0.3]]))
def test_capital_against_the_best_cut_over_all_orders(matrix: Array) -> None:
    documents, cuts = matrix.shape
    best = int(matrix.sum(axis=0).argmax())
    capital, evidence = [], []
    for order in permutations(range(documents)):
        bets = Bets(cuts, documents)
        path = []
        for document in order:
            bets.play(matrix[[document]], np.ones(2))
            path.append(math.exp(bets.log_capital[best]))
        capital.append(path)
        evidence.append(bets.evidence[best])
    assert (np.mean(capital, axis=0) <= 1 + 1e-9).all()
    for error_rate in (0.2, 0.5, 0.9):
        assert np.mean(np.array(evidence) >= -math.log(error_rate)) <= error_rate


@settings(max_examples=15, deadline=None)
@given(matrices(EIGHTHS, documents=(4, 5), cuts=(3, 4)), st.integers(1, 3))
def test_the_game_stays_fair_if_cuts_are_dropped_on_the_way(matrix: Array, seen: int) -> None:
    """Here, all but the best cut and the one that looks worst are dropped."""
    documents, cuts = matrix.shape
    best = int(matrix.sum(axis=0).argmax())
    capital = []
    for order in permutations(range(documents)):
        shuffled = matrix[list(order)]
        bets = Bets(cuts, documents)
        bets.play(shuffled[:seen], np.ones(seen + 1))
        kept = np.isin(np.arange(cuts), [best, int(bets.totals.argmin())])
        bets.keep(kept)
        bets.play(shuffled[seen:, kept], np.ones(documents - seen + 1))
        capital.append(math.exp(bets.log_capital[kept[:best].sum()]))
    assert np.mean(capital) <= 1 + 1e-9


def plain_capitals(scores: Array, documents: int, cut: int) -> list[float]:
    """Return the capital against a cut after every document: a plain loop, in exact fractions."""
    money, squares = Fraction(1), Fraction(PRIOR_SQUARE)
    totals = [Fraction(0)] * scores.shape[1]
    capitals = []
    for i, row in enumerate(scores.tolist()):
        leaders = [
            Fraction(x) for x, total in zip(row, totals, strict=True) if total == max(totals)
        ]
        gain = sum(leaders) / len(leaders) - Fraction(row[cut])
        lead, remaining = max(totals) - totals[cut], documents - i
        if lead < remaining:
            back = lead / remaining
            mean, square = lead / (i + 1) + back, squares / (i + 1)
            stake = min(Fraction(BOLDNESS) * mean / square, Fraction(MOST) / (1 - back))
            money += money * stake * (gain + back)
        squares += gain * gain
        totals = [total + Fraction(x) for x, total in zip(row, totals, strict=True)]
        capitals.append(float(money))
    return capitals


@settings(deadline=None)
@given(matrices(EIGHTHS, documents=(1, 12), cuts=(2, 4)), st.integers(0, 20))
def test_capital_agrees_with_the_plain_loop(scores: Array, more: int) -> None:
    seen, cuts = scores.shape
    bets = bets_on(scores, seen + more)
    leads = scores.sum(axis=0).max() - scores.sum(axis=0)
    for cut in range(cuts):
        expected = plain_capitals(scores, seen + more, cut)
        # rounding in twelve logarithms
        assert math.exp(bets.log_capital[cut]) == pytest.approx(expected[-1], rel=1e-9)
        peak = math.inf if leads[cut] > more else max(1.0, *expected)
        assert np.exp(bets.evidence[cut]) == pytest.approx(peak, rel=1e-9)


@settings(deadline=None)
@given(matrices(EIGHTHS, documents=(2, 12), cuts=(2, 4)), st.integers(1, 11))
def test_documents_may_come_in_parts(scores: Array, part: int) -> None:
    whole = bets_on(scores, 30)
    parts = Bets(scores.shape[1], 30)
    for some in (scores[:part], scores[part:]):
        parts.play(some, np.ones(len(some) + 1))
    assert parts.documents == whole.documents == len(scores)
    assert (parts.totals == whole.totals).all()
    assert (parts.log_capital == whole.log_capital).all()
    assert (parts.evidence == whole.evidence).all()


@given(matrices(EIGHTHS, documents=(1, 12), cuts=(2, 4)), st.sampled_from([1 / 8, 4.0, 1024.0]))
def test_capital_does_not_depend_on_units(scores: Array, unit: float) -> None:
    bets = Bets(scores.shape[1], 30)
    bets.play(unit * scores, np.full(len(scores) + 1, unit))
    assert bets.log_capital == pytest.approx(bets_on(scores, 30).log_capital)


def test_a_lead_that_cannot_be_made_up_is_certain() -> None:
    scores = np.array([[1.0, 0.0]] * 6)
    assert bets_on(scores, 12).evidence[1] < math.inf
    assert bets_on(scores, 11).evidence[1] == math.inf


def test_nothing_is_staked_against_the_leaders() -> None:
    bets = bets_on(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]), 10)
    before = bets.log_capital.copy()
    bets.play(np.array([[0.0, 1.0, 1.0]]), np.ones(2))
    assert (bets.log_capital[:2] == before[:2]).all()
    # on average, the leaders lost half a point to it
    assert bets.log_capital[2] < before[2]


def test_nobody_bets_before_a_limit_is_known() -> None:
    bets = Bets(2, 10)
    bets.play(np.array([[5.0, 1.0]]), np.array([0.0, 8.0]))
    assert (bets.log_capital == 0).all() and (bets.evidence == 0).all()
    bets.play(np.array([[5.0, 1.0]]), np.array([8.0, 8.0]))
    assert bets.log_capital[1] > 0


def test_a_loss_beyond_the_limit_costs_all() -> None:
    bets = bets_on(np.array([[0.5, 0.0], [0.0, 9.0]]), 10)
    assert bets.log_capital[1] == -math.inf
    bets.play(np.array([[99.0, 0.0]]), np.ones(2))
    assert bets.log_capital[1] == -math.inf
