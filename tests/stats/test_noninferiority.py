"""Tests of keeping the gain: exact cases, agreement of scales, error rates, fixed sequence."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu import BLEU

from lm_eval_lora_boundary.errors import LoraBoundaryError
from lm_eval_lora_boundary.stats.bootstrap import Bootstrap
from lm_eval_lora_boundary.stats.margin import Margin
from lm_eval_lora_boundary.stats.noninferiority import Kept, kept
from lm_eval_lora_boundary.stats.sequences import Order, fixed_sequence, keeping
from lm_eval_lora_boundary.stats.statistic import Aggregates, CorpusScores, Means
from lm_eval_lora_boundary.stats.units import Units

TENTH = Margin(0.1, is_share=True)


def asked(
    values: np.ndarray,
    margin: Margin = TENTH,
    *,
    draws: int = 10_000,
    higher_is_better: bool = True,
    units: Units | None = None,
) -> Kept:
    """Ask how much of the gain the columns after base and whole adapter keep."""
    found = Bootstrap(Means(values), draws=2, units=units)
    found.draws = np.zeros((draws, 1))  # only their number counts
    cuts = range(2, values.shape[1])
    return kept(found, 1, 0, cuts, margin, higher_is_better=higher_is_better)


@pytest.mark.parametrize(("lost", "documents"), [(1, 20), (5, 50), (0, 50), (7, 60)])
def test_answers_that_are_only_lost_are_tested_as_clopper_and_pearson_do(
    lost: int, documents: int
) -> None:
    values = np.zeros((documents, 3))
    values[:, 1] = 1
    values[lost:, 2] = 1
    bound = float(scipy.stats.beta.ppf(0.95, lost + 1, documents - lost))
    for loss in (bound, 0.8 * bound, 1.3 * bound):
        found = asked(values, Margin(loss, is_share=False), draws=40_000)
        exact = scipy.stats.binom.cdf(lost, documents, loss)
        # 40,000 draws have a standard error of at most 0.25 points
        assert found.p_value[0] == pytest.approx(exact, abs=0.01)


def made(documents: int, gain: float, loss: float, disagreement: float, seed: int) -> np.ndarray:
    """Return base, whole adapter and a cut; the base is right in a tenth of the documents."""
    source = np.random.default_rng(seed)
    base = source.random(documents) < 0.1
    whole = base | (source.random(documents) < gain / 0.9)
    chance = source.random(documents)
    lost = chance < (loss + disagreement / 2) / (0.1 + gain)
    gained = chance < disagreement / 2 / max(0.9 - gain, 1e-9)
    return np.stack([base, whole, np.where(whole, ~lost, gained)], axis=1).astype(float)


@pytest.mark.parametrize("documents", [24, 50, 200])
@pytest.mark.parametrize(("gain", "disagreement"), [(0.4, 0.0), (0.4, 0.1), (0.8, 0.05)])
def test_a_cut_that_loses_the_margin_passes_in_at_most_5_percent(
    documents: int, gain: float, disagreement: float
) -> None:
    """400 experiments have a standard error of 1.1 points."""
    passed = [
        asked(made(documents, gain, 0.1 * gain, disagreement, seed), draws=500).p_value[0] <= 0.05
        for seed in range(400)
    ]
    assert np.mean(passed) <= 0.07


def test_it_has_the_power_that_bonett_and_price_have_and_more() -> None:
    """At 200 documents: .64 for an equal cut with a gain of .4, and 1.0 with a gain of .8."""
    for gain, least in ((0.4, 0.64), (0.8, 0.99)):
        passed = [
            asked(made(200, gain, 0, 0.0, seed), draws=500).p_value[0] <= 0.05 for seed in range(60)
        ]
        assert np.mean(passed) >= least


@given(st.integers(0, 10_000), st.floats(1, 50), st.floats(2, 20))
@settings(max_examples=20, deadline=None)
def test_the_unit_and_the_direction_do_not_matter(seed: int, factor: float, shift: float) -> None:
    values = np.random.default_rng(seed).random((30, 4)) - 1  # not within 0 and 1: no known bounds
    values[:, 1] += 1
    values[:, 2] += 0.9
    plain = asked(values, draws=400)
    moved = asked(values * factor + shift, draws=400)
    turned = asked(-values, draws=400, higher_is_better=False)
    for other in (moved, turned):
        assert other.share == pytest.approx(plain.share, rel=1e-6)
        assert other.low == pytest.approx(plain.low, rel=1e-6)
        assert other.p_value == pytest.approx(plain.p_value, abs=1e-9)


def test_a_margin_in_the_unit_of_the_metric_is_a_bound_on_the_difference() -> None:
    values = made(300, 0.6, 0.03, 0.05, 1)
    loss = values[:, 1].mean() - values[:, 2].mean()
    assert asked(values, Margin(loss + 0.06, is_share=False)).p_value[0] < 0.05
    assert asked(values, Margin(loss, is_share=False)).p_value[0] > 0.3
    gain = values[:, 1].mean() - values[:, 0].mean()
    as_share = asked(values, Margin(0.1, is_share=True)).p_value[0]
    as_loss = asked(values, Margin(0.1 * gain, is_share=False)).p_value[0]
    assert as_share == pytest.approx(as_loss, abs=0.1)  # the gain itself is an estimate


def test_no_gain_has_no_share() -> None:
    values = made(40, 0.5, 0, 0, 3)
    values[:, 0] = values[:, 1]
    found = asked(values)
    assert np.isnan(found.share[0]) and found.low[0] == -np.inf
    assert found.p_value[0] > 0.05


def test_clusters_of_documents_are_weighted_together() -> None:
    values = made(120, 0.6, 0.0, 0.05, 5)
    repeated = np.repeat(values, 4, axis=0)
    units = Units(len(repeated), np.repeat(np.arange(120), 4).tolist())
    assert asked(repeated, units=units).p_value == pytest.approx(asked(values).p_value)
    assert asked(repeated).p_value[0] < asked(values).p_value[0]  # as if there were more


def corpus(documents: int, errors: tuple[float, ...], seed: int = 0) -> list[list[tuple[str, str]]]:
    source = np.random.default_rng(seed)
    words = [f"{a}{b}{c}" for a in "bdfg" for b in "aeio" for c in "klmn"]
    columns: list[list[tuple[str, str]]] = [[] for _ in errors]
    for _ in range(documents):
        text = source.choice(words, size=source.integers(6, 14)).tolist()
        chance, other = source.random(len(text)), source.choice(words, size=len(text))
        for column, rate in zip(columns, errors, strict=True):
            reply = [o if c < rate else w for w, c, o in zip(text, chance, other, strict=True)]
            column.append((" ".join(text), " ".join(reply)))
    return columns


def test_bleu_is_resampled_with_a_document_that_is_lost() -> None:
    few, many = (
        kept(
            Bootstrap(CorpusScores.of_texts(corpus(n, (0.6, 0.1, 0.1, 0.3)), BLEU()), draws=300),
            1,
            0,
            [2, 3],
            TENTH,
            higher_is_better=True,
        )
        for n in (10, 150)
    )
    # the same answers as the whole adapter: shown with many documents, not with a few
    assert few.share[0] == many.share[0] == pytest.approx(1)
    assert few.p_value[0] > 0.05 > many.p_value[0]
    assert few.low[0] < many.low[0] < 1 < many.high[0] < few.high[0]
    assert many.p_value[1] > 0.9


def test_any_aggregation_gives_what_means_give_without_bounds() -> None:
    values = made(60, 0.6, 0.0, 0.1, 2)
    columns = [column.tolist() for column in values.T]
    as_mean = asked(values, draws=2000)
    other = kept(
        Bootstrap(Aggregates(columns, lambda items: float(np.mean(items))), draws=2000),
        1,
        0,
        [2],
        TENTH,
        higher_is_better=True,
    )
    assert other.share == pytest.approx(as_mean.share)
    # 60 draws among 61 in place of random weights: less smooth
    assert other.low == pytest.approx(as_mean.low, abs=0.04)


@given(st.lists(st.floats(0, 0.2), max_size=8))
def test_a_fixed_sequence_stops_at_the_first_that_fails(p_values: list[float]) -> None:
    number = fixed_sequence(p_values)
    assert all(p_value <= 0.05 for p_value in p_values[:number])
    assert number == len(p_values) or p_values[number] > 0.05


def test_nested_cuts_go_from_the_largest_down_and_others_are_corrected() -> None:
    names = [-1, 0, 1, 2, 3]
    p_values = [0.9, 0.01, 0.2, 0.03, 0.01]
    order = Order([3, 2, 1, 0], nested=True)
    found = keeping(names, p_values, [order])
    assert (found.cuts, found.level, found.stopped_at) == ([2, 3], 0.05, 1)
    found = keeping(names, p_values, [Order([3, 2, 1, 0], nested=False)])
    assert (found.cuts, found.stopped_at) == ([0, 3], 2)
    # two lists share the level: 0.03 is above half of it
    found = keeping(names, p_values, [order, Order([1], nested=False)])
    assert (found.cuts, found.level, found.stopped_at) == ([3], 0.025, 2)
    # what has no p-value, such as a cut that a race dropped, ends the sequence
    found = keeping(names, [0.9, 0.01, 0.01, None, 0.01], [order])
    assert (found.cuts, found.stopped_at) == ([3], 2)
    assert keeping(names, p_values, []).cuts == []
    assert keeping(names, [0.01] * 5, [order]).stopped_at is None


@pytest.mark.parametrize(
    ("text", "value", "is_share"),
    [("10%", 0.1, True), (" 2.5% ", 0.025, True), ("0.02", 0.02, False), ("1.5", 1.5, False)],
)
def test_margins_are_read_as_they_are_written(text: str, value: float, is_share: bool) -> None:
    margin = Margin.read(text)
    assert margin == Margin(pytest.approx(value), is_share)
    assert Margin.read(str(margin)) == margin


@pytest.mark.parametrize("text", ["", "ten", "0", "0%", "100%", "-1", "nan", "inf", "5 percent"])
def test_other_margins_are_refused(text: str) -> None:
    with pytest.raises(LoraBoundaryError, match="expected a share of the adapter's gain"):
        Margin.read(text)
