"""Clusters, split halves, and how many documents a difference needs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_lora_boundary.stats.bootstrap import Bootstrap
from lm_eval_lora_boundary.stats.halves import split_halves
from lm_eval_lora_boundary.stats.margin import Margin
from lm_eval_lora_boundary.stats.noninferiority import kept
from lm_eval_lora_boundary.stats.power import (
    detectable,
    documents_to_keep,
    spread,
)
from lm_eval_lora_boundary.stats.statistic import Means
from lm_eval_lora_boundary.stats.units import Units


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_units_have_whole_clusters(clusters: list[int]) -> None:
    units = Units(len(clusters), clusters)
    assert units.sizes.sum() == len(clusters)
    values = np.random.default_rng(0).random((len(clusters), 2))
    assert units.means(values).mean(axis=0) == pytest.approx(values.mean(axis=0))
    for counts in units.draws(7):
        for each in set(clusters):
            inside = counts[:, [i for i, other in enumerate(clusters) if other == each]]
            assert (inside == inside[:, :1]).all()  # drawn together
    for first, second in units.halves(5):
        assert (first + second == 1).all()


def test_clusters_of_one_are_documents() -> None:
    values = np.random.default_rng(1).random((25, 3))
    plain = Bootstrap(Means(values), draws=300).difference(2)
    alone = Bootstrap(Means(values), units=Units(25, list("abcdefghijklmnopqrstuvwxy")), draws=300)
    for name, array in vars(plain).items():
        assert getattr(alone.difference(2), name) == pytest.approx(array), name


def test_copies_in_a_cluster_count_once() -> None:
    values = np.random.default_rng(2).random((40, 3))
    units = Units(120, np.repeat(np.arange(40), 3).tolist())
    once = Bootstrap(Means(values), draws=500).difference(2)
    thrice = Bootstrap(Means(np.repeat(values, 3, axis=0)), units=units, draws=500).difference(2)
    for name in ("low", "high", "p_value", "p_simultaneous", "stderr"):
        assert getattr(thrice, name) == pytest.approx(getattr(once, name)), name


def test_clusters_that_are_all_right_or_all_wrong_prove_little() -> None:
    """Resampling gives an interval of width 0; each cluster counts as one document instead."""
    values = np.column_stack([np.zeros(20), np.ones(20)])
    clusters = Units(20, np.repeat(np.arange(5), 4).tolist())
    low, high = Bootstrap(Means(values), units=clusters, draws=300).interval()
    alone_low, alone_high = Bootstrap(Means(values[::4]), draws=300).interval()
    assert low == pytest.approx(alone_low)
    assert high == pytest.approx(alone_high)
    assert high[0] > 0.4 and low[1] < 0.6


def test_segments_of_one_document_are_not_independent() -> None:
    """Differences with an intra-cluster correlation of .1; the null holds, nominal 5 %."""
    source = np.random.default_rng(3)
    clusters = np.repeat(np.arange(20), 10)
    rejected = np.zeros(2)
    for _ in range(200):
        common = source.normal(size=20)[clusters] * np.sqrt(0.1)
        values = np.stack([common + source.normal(size=200) * np.sqrt(0.9), np.zeros(200)], 1)
        for i, units in enumerate((None, Units(200, clusters.tolist()))):
            found = Bootstrap(Means(values), units=units, draws=300).difference(1)
            rejected[i] += found.p_value[0] <= 0.05
    assert rejected[0] / 200 > 0.1  # by segment: twice and more what it says
    assert rejected[1] / 200 <= 0.09  # by document; standard error 1.5 points


def test_columns_that_tie_share_a_half() -> None:
    values = np.repeat(np.random.default_rng(0).integers(0, 2, (30, 1)), 4, axis=1).astype(float)
    values[:, 3] = 0
    found = split_halves(Means(values), Units(30))
    assert found is not None
    assert found.selected[:3] == pytest.approx(1 / 3, abs=0.01)
    assert 0 < found.selected[3] <= 0.25  # never chosen: nothing is known but that there are four
    assert found.optimism == 0  # nothing was chosen
    lower = split_halves(Means(values), Units(30), higher_is_better=False)
    assert lower is not None and 0.99 < lower.selected[3] < 1  # never quite 1


def test_a_choice_by_luck_is_rarely_made_again() -> None:
    said = []
    for seed in range(40):
        values = np.random.default_rng(seed).normal(size=(60, 8))
        found = split_halves(Means(values), Units(60))
        assert found is not None
        said.append(found.selected[values.mean(axis=0).argmax()])
    # one of eight on other documents; the best on all is more often the best on both halves
    assert 1 / 8 < np.mean(said) < 0.25


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.95])
def test_optimism_is_the_luck_of_the_chosen(rate: float) -> None:
    """Ten equally good columns, also near the ceiling, where resampling finds no luck at all."""
    luck, said = [], []
    for seed in range(150):
        values = (np.random.default_rng(seed).random((50, 10)) < rate).astype(float)
        found = split_halves(Means(values), Units(50))
        assert found is not None
        luck.append(values.mean(axis=0).max() - rate)
        said.append(found.optimism)
    assert np.mean(said) == pytest.approx(np.mean(luck), rel=0.2)


def test_fewer_than_two_units_have_no_halves() -> None:
    assert split_halves(Means(np.ones((3, 2))), Units(3, [1, 1, 1])) is None


# of the tables of an independent simulation: documents, disagreement, difference seen in 80 %
@pytest.mark.parametrize(
    ("documents", "disagreement", "difference"),
    [(50, 0.1, 0.125), (50, 0.2, 0.177), (200, 0.1, 0.063), (200, 0.2, 0.089)],
)
def test_the_difference_that_documents_show(
    documents: int, disagreement: float, difference: float
) -> None:
    # with 50 documents and a disagreement of 0.1, five that differ are hardly enough for any test
    least = 0.157 if documents == 50 else 0.0
    found = detectable(documents, spread(disagreement))
    assert found == pytest.approx(max(difference, least), abs=0.0006)


def test_a_detectable_difference_is_found_four_times_in_five() -> None:
    size = detectable(100, 0.3)
    source = np.random.default_rng(4)
    found = 0
    for _ in range(300):
        values = np.stack([source.normal(size, 0.3, size=100), np.zeros(100)], axis=1)
        found += Bootstrap(Means(values), draws=300).difference(1).p_value[0] <= 0.05
    assert found / 300 == pytest.approx(0.8, abs=0.08)  # standard error 2.3 points


@pytest.mark.parametrize(("gain", "disagreement"), [(0.4, 0.0), (0.4, 0.05), (0.8, 0.05)])
def test_an_equal_cut_is_shown_four_times_in_five(gain: float, disagreement: float) -> None:
    variance = disagreement + 0.01 * gain * (1 - gain)
    documents = documents_to_keep(0.1 * gain, variance**0.5)
    source = np.random.default_rng(5)
    shown = 0
    for _ in range(120):
        base = source.random(documents) < 0.1
        whole = base | (source.random(documents) < gain / 0.9)
        chance = source.random(documents)
        lost = chance < disagreement / 2 / (0.1 + gain)
        gained = chance < disagreement / 2 / (0.9 - gain)
        values = np.stack([base, whole, np.where(whole, ~lost, gained)], axis=1).astype(float)
        found = Bootstrap(Means(values), draws=2)
        found.draws = np.zeros((500, 1))
        tenth = Margin(0.1, is_share=True)
        shown += kept(found, 1, 0, [2], tenth, higher_is_better=True).p_value[0] <= 0.05
    assert shown / 120 == pytest.approx(0.8, abs=0.13)  # standard error 3.7 points; approximate


def test_a_margin_needs_three_over_it_at_least() -> None:
    assert documents_to_keep(0.1, 0.0) == pytest.approx(3 / 0.1, abs=1)
    assert documents_to_keep(0.01, 0.0) == pytest.approx(3 / 0.01, abs=1)
    assert documents_to_keep(10, 0.0, scale=100) == documents_to_keep(0.1, 0.0)
