"""Paired statistics: agreement with scipy, simulated error rates and coverage, edge cases."""

from __future__ import annotations

import random

import numpy as np
import pytest
import scipy.stats
import statsmodels.stats.contingency_tables
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu import BLEU, CHRF

from lm_eval_lora_boundary.stats.bootstrap import Bootstrap, Difference, holm, mcnemar
from lm_eval_lora_boundary.stats.statistic import CorpusScores, Means


def matrix(documents: int, columns: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    skill = generator.normal(size=(documents, 1))
    return ((skill + generator.normal(size=(documents, columns))) > 0).astype(float)


def compared(values: np.ndarray, reference: int, **options: int) -> Difference:
    return Bootstrap(Means(values), **options).difference(reference)


def test_intervals_agree_with_scipy() -> None:
    values = np.random.default_rng(2).gamma(2.0, size=(400, 3))
    bootstrap = Bootstrap(Means(values))
    result = bootstrap.difference(2)
    for column in (0, 1):
        expected = scipy.stats.bootstrap(
            (values[:, column], values[:, 2]),
            lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
            paired=True,
            n_resamples=10_000,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        width = expected.high - expected.low
        # the tolerance covers 400 documents and the noise of the draws
        assert result.low[column] == pytest.approx(expected.low, abs=0.04 * width)
        assert result.high[column] == pytest.approx(expected.high, abs=0.04 * width)
        student = scipy.stats.ttest_rel(values[:, column], values[:, 2]).confidence_interval()
        assert result.low[column] == pytest.approx(student.low, abs=0.03 * width)
    low, high = bootstrap.interval()
    student = scipy.stats.t.interval(0.95, 399, values.mean(0), scipy.stats.sem(values))
    assert np.abs(np.array([low, high]) - student).max() < 0.02


def test_p_values_agree_with_scipy() -> None:
    values = np.random.default_rng(3).normal(size=(80, 4)) + np.array([0.3, 0.1, 0.5, 0])
    result = compared(values, reference=3)
    for column in range(3):
        expected = scipy.stats.permutation_test(
            (values[:, column] - values[:, 3],),
            lambda differences, axis: differences.mean(axis=axis),
            permutation_type="samples",
            n_resamples=10_000,
            rng=np.random.default_rng(1),
        ).pvalue
        assert result.p_value[column] == pytest.approx(expected, abs=0.015)
        student = scipy.stats.ttest_rel(values[:, column], values[:, 3]).pvalue
        assert result.p_value[column] == pytest.approx(student, abs=0.02)


@pytest.mark.parametrize("documents", [10, 11, 13])
def test_few_documents_are_tested_exactly(documents: int) -> None:
    values = np.random.default_rng(documents).normal(size=(documents, 2)) + np.array([0.7, 0])
    expected = scipy.stats.permutation_test(
        (values[:, 0] - values[:, 1],),
        lambda differences, axis: differences.mean(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    ).pvalue
    result = compared(values, 1)
    # scipy also lists the complement of each swap, which is the same in a two-sided test
    assert result.p_value[0] == result.p_simultaneous[0] == pytest.approx(expected)
    assert result.simultaneous_low[0] <= result.low[0] < result.value[0] < result.high[0]


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_mid_p_value_is_the_exact_one_without_half_of_what_was_seen(
    gained: int, lost: int
) -> None:
    values = np.zeros((gained + lost + 2, 2))
    values[:gained, 0] = values[gained : gained + lost, 1] = 1
    exact = statsmodels.stats.contingency_tables.mcnemar([[1, gained], [lost, 0]]).pvalue
    seen = scipy.stats.binom.pmf(gained, gained + lost, 0.5)
    # the tails of the exact test overlap in a draw
    expected = 1 if gained == lost else exact - seen
    assert mcnemar(values[:, 0], values[:, 1]) == pytest.approx(expected)
    assert mcnemar(values[:, 1], values[:, 0]) == pytest.approx(expected)
    assert compared(values, 1, draws=10).p_value[0] == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_agrees_with_its_definition(p_values: list[float]) -> None:
    corrected = holm(np.array(p_values))
    for level in (0.01, 0.05, 0.2):
        # step down: the smallest p against level / m, the next against level / (m - 1), ...
        rejected = set()
        for step, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if p_values[index] * (len(p_values) - step) > level:
                break
            rejected.add(index)
        assert {i for i, p in enumerate(corrected) if p <= level} == rejected
    assert (corrected >= np.array(p_values)).all() and (corrected <= 1).all()


def test_a_column_does_not_differ_from_itself() -> None:
    values = matrix(30, 4)
    values[:, 1] = values[:, 3]
    result = compared(values, reference=3)
    ends = (result.low, result.high, result.simultaneous_low, result.simultaneous_high)
    assert all(end[3] == 0 for end in ends)
    for column in (1, 3):
        assert result.differing[column] == result.spread[column] == 0
        assert result.p_value[column] == result.p_simultaneous[column] == 1


def excludes(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return (low > 1e-12) | (high < -1e-12)


# P(gain), P(loss): from columns that rarely differ to columns that often do
PAIRS = [(0.0, 0.04), (0.01, 0.03), (0.02, 0.06), (0.03, 0.03), (0.2, 0.1), (0.3, 0.2)]


@pytest.mark.parametrize("documents", [20, 50, 100])
def test_intervals_of_binary_metrics_cover(documents: int) -> None:
    """Exact coverage at nominal 95 %: sums over the likely numbers of documents gained and lost."""
    ends: dict[tuple[int, int], tuple[float, float]] = {}
    for gain, loss in PAIRS:
        likely = scipy.stats.multinomial(documents, [gain, loss, 1 - gain - loss])
        covered = 0.0
        for gained in range(documents + 1):
            for lost in range(documents - gained + 1):
                chance = float(likely.pmf([gained, lost, documents - gained - lost]))
                if chance < 1e-4:  # counted as not covered
                    continue
                if (gained, lost) not in ends:
                    values = np.zeros((documents, 2))
                    values[:gained, 0] = values[gained : gained + lost, 1] = 1
                    result = compared(values, 1, draws=20)
                    # no interval claims what the test does not
                    if excludes(result.low, result.high)[0]:
                        assert result.p_value[0] <= 0.05
                    ends[gained, lost] = float(result.low[0]), float(result.high[0])
                low, high = ends[gained, lost]
                covered += chance * (low <= gain - loss <= high)
        assert covered >= 0.93, (gain, loss)


def test_intervals_of_binary_metrics_are_bonett_and_prices() -> None:
    values = matrix(50, 2)
    values[:, 0] = np.maximum(values[:, 0], values[:, 1])
    values[:9, :] = [1, 0]
    gained, lost = ((values[:, 0] - values[:, 1] == sign).sum() for sign in (1, -1))
    p, q = (gained + 1) / 52, (lost + 1) / 52  # equation 5 of their paper
    half = 1.959964 * np.sqrt((p + q - (p - q) ** 2) / 52)
    result = compared(values, 1)
    assert result.low[0] == pytest.approx(p - q - half)
    assert result.high[0] == pytest.approx(p - q + half)


SHAPES = {
    "normal": lambda n, g: (g.normal(size=n) + 0.2, 0.2),
    "heavy tails": lambda n, g: (g.laplace(size=n), 0.0),
    "skewed": lambda n, g: (g.gamma(1.5, 0.2, size=n), 0.3),
    "few losses": lambda n, g: ((g.random(n) < 0.04) * g.random(n) * -0.8, -0.016),
    "some losses": lambda n, g: ((g.random(n) < 0.2) * g.random(n) * -0.8, -0.08),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("documents", [10, 20, 100])
def test_intervals_of_means_cover(shape: str, documents: int) -> None:
    """Coverage at nominal 95 %; 300 experiments have a standard error of 1.3 points."""
    generator = np.random.default_rng(documents)
    covered = 0
    for _ in range(300):
        differences, truth = SHAPES[shape](documents, generator)
        result = compared(
            np.stack([differences + 0.8, np.full(documents, 0.8)], axis=1), 1, draws=1000
        )
        covered += result.low[0] <= truth <= result.high[0]
        if excludes(result.low, result.high)[0]:
            assert result.p_value[0] <= 0.05
    # a small sample of skewed values often misses the tail
    least = 0.92 if shape != "skewed" else 0.90
    assert covered / 300 >= least


@pytest.mark.parametrize("documents", [2, 5, 12, 20, 50])
@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_type_i_error_of_means(documents: int, draw: str) -> None:
    """Nominal 5 %; 800 experiments have a standard error of 0.8 points."""
    generator = np.random.default_rng(documents)
    rejected = np.zeros(3)
    for _ in range(800):
        values = getattr(generator, draw)(size=(documents, 2)) + generator.normal(
            size=(documents, 1)
        )
        result = compared(values, 1, draws=400)
        outside = excludes(result.low, result.high)[0]
        rejected += [result.p_value[0] <= 0.05, result.p_simultaneous[0] <= 0.05, outside]
    assert (rejected / 800 <= 0.07).all(), rejected / 800


@pytest.mark.parametrize("binary", [False, True])
def test_family_wise_error(binary: bool) -> None:
    """30 boundaries that are as good as the whole adapter; nominal 5 %."""
    generator = np.random.default_rng(32)
    rejected = np.zeros(3)
    for _ in range(300):
        values = generator.normal(size=(32, 31)) + generator.normal(size=(32, 1))
        result = compared(np.float64(values > 0) if binary else values, 30, draws=1000)
        outside = excludes(result.simultaneous_low, result.simultaneous_high).any()
        p_holm = holm(result.p_value[:30])
        rejected += [p_holm.min() <= 0.05, result.p_simultaneous.min() <= 0.05, outside]
        width = result.simultaneous_high - result.simultaneous_low
        assert (result.high - result.low <= width + 1e-9).all()
    assert (rejected / 300 <= 0.07).all(), rejected / 300


@pytest.mark.parametrize("metric", [BLEU, CHRF])
def test_type_i_error_of_corpus_metrics(metric: type[BLEU] | type[CHRF]) -> None:
    words = [f"{a}{b}" for a in "abcd" for b in "aeio"]
    source = random.Random(1)
    rejected = covered = 0
    for documents in (5, 12, 20):
        for _ in range(150):
            columns: list[list[tuple[str, str]]] = [[], []]
            for _ in range(documents):
                text = source.choices(words, k=source.randint(5, 14))
                for column in columns:
                    reply = [source.choice(words) if source.random() < 0.3 else w for w in text]
                    column.append((" ".join(text), " ".join(reply)))
            result = Bootstrap(CorpusScores.of_texts(columns, metric()), draws=200).difference(1)
            if documents == 5:  # the test cannot reject: 2 / 2^5 is more than 5 %
                assert result.p_value[0] > 0.05
                continue
            rejected += result.p_value[0] <= 0.05
            covered += not excludes(result.low, result.high)[0]
    assert rejected / 300 <= 0.07 and covered / 300 >= 0.93  # standard error 1.3 points


def test_no_observed_difference_does_not_prove_equality() -> None:
    right = np.repeat(matrix(50, 1), 2, axis=1)
    result = compared(right, 1)
    assert result.value[0] == 0 and result.p_value[0] == result.p_simultaneous[0] == 1
    assert result.low[0] == -result.high[0] < -0.05
    assert result.simultaneous_low[0] <= result.low[0]
    scored = np.repeat(np.random.default_rng(1).random((50, 1)), 2, axis=1)
    result = compared(scored, 1)
    assert result.low[0] == -result.high[0] < -0.05
    result = compared(np.full((50, 2), 0.3), 1)  # the metric may range from 0 to 1
    assert result.low[0] < 0 < result.high[0]
    assert np.isnan(compared(np.full((50, 2), 7.0), 1).low[0])  # its range is not known
    same = [[("a b c d e", "a b c d x")] * 50] * 2
    assert np.isnan(Bootstrap(CorpusScores.of_texts(same, BLEU())).difference(1).low[0])


def test_simultaneous_intervals_account_for_the_choice() -> None:
    """Eight boundaries as good as the whole adapter, of which the best-looking one is chosen."""
    generator = np.random.default_rng(11)
    plain, simultaneous, rejected = 0, 0, 0
    for _ in range(400):
        values = generator.normal(size=(60, 9)) + generator.normal(size=(60, 1))
        result, best = compared(values, 8, draws=400), int(values.mean(axis=0).argmax())
        plain += result.low[best] <= 0 <= result.high[best]
        simultaneous += result.simultaneous_low[best] <= 0 <= result.simultaneous_high[best]
        rejected += result.p_simultaneous[best] <= 0.05
    assert plain / 400 < 0.92  # the chosen column looks better than it is
    assert 0.93 <= simultaneous / 400 <= 1
    assert rejected / 400 <= 0.07


def test_the_spread_is_the_standard_deviation_of_the_differences() -> None:
    values = np.random.default_rng(4).normal(size=(70, 3))
    result = compared(values, 2)
    assert result.spread == pytest.approx((values - values[:, [2]]).std(axis=0))
    assert result.stderr[:2] == pytest.approx(
        scipy.stats.sem(values[:, :2] - values[:, [2]]), rel=1e-9
    )
    assert result.differing.tolist() == [1, 1, 0]


def test_one_document_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 documents, got 1"):
        Bootstrap(Means(np.ones((1, 3))))
