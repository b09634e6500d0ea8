"""Paired statistics: against scipy and sacrebleu, by simulation, and where nothing can be told."""

from __future__ import annotations

import random

import numpy as np
import pytest
import scipy.stats
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
    found = bootstrap.difference(2)
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
        # 400 documents; the rest is noise of the draws
        assert found.low[column] == pytest.approx(expected.low, abs=0.04 * width)
        assert found.high[column] == pytest.approx(expected.high, abs=0.04 * width)
        student = scipy.stats.ttest_rel(values[:, column], values[:, 2]).confidence_interval()
        assert found.low[column] == pytest.approx(student.low, abs=0.03 * width)
    low, high = bootstrap.interval()
    student = scipy.stats.t.interval(0.95, 399, values.mean(0), scipy.stats.sem(values))
    assert np.abs(np.array([low, high]) - student).max() < 0.02


def test_p_values_agree_with_scipy() -> None:
    values = np.random.default_rng(3).normal(size=(80, 4)) + np.array([0.3, 0.1, 0.5, 0])
    found = compared(values, reference=3)
    for column in range(3):
        expected = scipy.stats.permutation_test(
            (values[:, column] - values[:, 3],),
            lambda differences, axis: differences.mean(axis=axis),
            permutation_type="samples",
            n_resamples=10_000,
            rng=np.random.default_rng(1),
        ).pvalue
        assert found.p_value[column] == pytest.approx(expected, abs=0.015)
        student = scipy.stats.ttest_rel(values[:, column], values[:, 3]).pvalue
        assert found.p_value[column] == pytest.approx(student, abs=0.02)


@pytest.mark.parametrize("documents", [2, 3, 7, 11])
def test_few_documents_are_tested_exactly(documents: int) -> None:
    values = np.random.default_rng(documents).normal(size=(documents, 2)) + np.array([0.7, 0])
    expected = scipy.stats.permutation_test(
        (values[:, 0] - values[:, 1],),
        lambda differences, axis: differences.mean(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    ).pvalue
    found = compared(values, 1)
    # scipy lists all ways, exchanging all documents included, which is the same two-sided
    assert found.p_value[0] == found.p_simultaneous[0] == pytest.approx(expected)
    assert found.simultaneous_low[0] <= found.low[0] < found.value[0] < found.high[0]


def test_right_or_wrong_is_tested_exactly() -> None:
    values = matrix(50, 2)
    gained = int((values[:, 0] > values[:, 1]).sum())
    lost = int((values[:, 0] < values[:, 1]).sum())
    # twice the smaller tail of a fair coin, by hand
    tail = scipy.stats.binom.cdf(min(gained, lost), gained + lost, 0.5)
    assert compared(values, 1).p_value[0] == pytest.approx(min(1, 2 * tail))
    assert mcnemar(values[:, 0], values[:, 1]) == mcnemar(values[:, 1], values[:, 0])
    assert mcnemar(values[:, 0], values[:, 0]) == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_as_its_definition_says(p_values: list[float]) -> None:
    corrected = holm(np.array(p_values))
    for level in (0.01, 0.05, 0.2):
        # step down: the smallest p against level / m, the next against level / (m - 1), …
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
    found = compared(values, reference=3)
    ends = (found.low, found.high, found.simultaneous_low, found.simultaneous_high)
    assert all(end[3] == 0 for end in ends)
    for column in (1, 3):
        assert found.loss_risk[column] == 0
        assert found.p_value[column] == found.p_simultaneous[column] == 1


def test_the_smaller_of_equals_wins() -> None:
    values = np.repeat(matrix(30, 1), 3, axis=1)
    assert Bootstrap(Means(values)).win_rate().tolist() == [1, 0, 0]
    values[:, 0] = 0
    found = Bootstrap(Means(values))
    assert found.win_rate().tolist() == [0, 1, 0]
    assert found.best == 1
    assert found.not_worse().tolist() == [False, True, True]
    assert found.difference(2).loss_risk.tolist() == [1, 0, 0]
    lower = Bootstrap(Means(values), higher_is_better=False)
    assert lower.win_rate().tolist() == [1, 0, 0]
    assert lower.not_worse().tolist() == [True, False, False]
    assert lower.difference(2).loss_risk.tolist() == [0, 0, 0]


def excludes(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return (low > 1e-12) | (high < -1e-12)


# P(gain), P(loss): from columns that hardly ever differ to ones that often do
PAIRS = [(0.0, 0.04), (0.01, 0.03), (0.02, 0.06), (0.03, 0.03), (0.2, 0.1), (0.3, 0.2)]


@pytest.mark.parametrize("documents", [20, 50, 100])
def test_intervals_of_right_or_wrong_cover(documents: int) -> None:
    """Nominal 95 %, computed exactly: every likely number of documents gained and lost."""
    ends: dict[tuple[int, int], tuple[float, float]] = {}
    for gain, loss in PAIRS:
        likely = scipy.stats.multinomial(documents, [gain, loss, 1 - gain - loss])
        covered = 0.0
        for gained in range(documents + 1):
            for lost in range(documents - gained + 1):
                chance = float(likely.pmf([gained, lost, documents - gained - lost]))
                if chance < 1e-4:  # together counted as not covered
                    continue
                if (gained, lost) not in ends:
                    values = np.zeros((documents, 2))
                    values[:gained, 0] = values[gained : gained + lost, 1] = 1
                    found = compared(values, 1, draws=20)
                    # the interval says what McNemar's exact test beside it says
                    assert excludes(found.low, found.high)[0] == (found.p_value[0] <= 0.05)
                    ends[gained, lost] = float(found.low[0]), float(found.high[0])
                low, high = ends[gained, lost]
                covered += chance * (low <= gain - loss <= high)
        assert covered >= 0.93, (gain, loss)


def test_intervals_of_right_or_wrong_are_bonett_and_prices() -> None:
    values = matrix(50, 2)
    values[:, 0] = np.maximum(values[:, 0], values[:, 1])
    values[:9, :] = [1, 0]
    gained, lost = ((values[:, 0] - values[:, 1] == sign).sum() for sign in (1, -1))
    p, q = (gained + 1) / 52, (lost + 1) / 52  # their equation 5
    reach = 1.959964 * np.sqrt((p + q - (p - q) ** 2) / 52)
    found = compared(values, 1)
    assert found.low[0] == pytest.approx(p - q - reach)
    assert found.high[0] == pytest.approx(p - q + reach)


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
    """Nominal 95 %: 300 experiments leave a standard error of 1.3 points."""
    generator = np.random.default_rng(documents)
    covered = 0
    for _ in range(300):
        differences, truth = SHAPES[shape](documents, generator)
        found = compared(
            np.stack([differences + 0.8, np.full(documents, 0.8)], axis=1), 1, draws=1000
        )
        covered += found.low[0] <= truth <= found.high[0]
        if excludes(found.low, found.high)[0]:
            assert found.p_value[0] <= 0.05
    # few documents of skewed values are not much like those that were not drawn
    least = 0.92 if shape != "skewed" else 0.90
    assert covered / 300 >= least


@pytest.mark.parametrize("documents", [2, 5, 12, 20, 50])
@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_equals_are_rarely_told_apart(documents: int, draw: str) -> None:
    """Type-I error at 5 %: 800 experiments leave a standard error of 0.8 points."""
    generator = np.random.default_rng(documents)
    rejected = np.zeros(3)
    for _ in range(800):
        values = getattr(generator, draw)(size=(documents, 2)) + generator.normal(
            size=(documents, 1)
        )
        found = compared(values, 1, draws=400)
        outside = excludes(found.low, found.high)[0]
        rejected += [found.p_value[0] <= 0.05, found.p_simultaneous[0] <= 0.05, outside]
    assert (rejected / 800 <= 0.07).all(), rejected / 800


@pytest.mark.parametrize("binary", [False, True])
def test_many_equals_are_rarely_told_apart(binary: bool) -> None:
    """Family-wise error of 30 boundaries that are as good as the whole adapter."""
    generator = np.random.default_rng(32)
    rejected = np.zeros(3)
    for _ in range(300):
        values = generator.normal(size=(32, 31)) + generator.normal(size=(32, 1))
        found = compared(np.float64(values > 0) if binary else values, 30, draws=1000)
        outside = excludes(found.simultaneous_low, found.simultaneous_high).any()
        p_holm = holm(found.p_value[:30])
        rejected += [p_holm.min() <= 0.05, found.p_simultaneous.min() <= 0.05, outside]
        narrower = found.simultaneous_high - found.simultaneous_low >= found.high - found.low - 1e-9
        assert narrower.all()
    assert (rejected / 300 <= 0.07).all(), rejected / 300


@pytest.mark.parametrize("metric", [BLEU, CHRF])
def test_equal_translations_are_rarely_told_apart(metric: type[BLEU] | type[CHRF]) -> None:
    words = [f"{a}{b}" for a in "abcd" for b in "aeio"]
    source = random.Random(1)
    rejected = covered = 0
    for documents in (5, 12, 20):
        for _ in range(150):
            columns: list[list[tuple[str, str]]] = [[], []]
            for _ in range(documents):
                text = source.choices(words, k=source.randint(5, 14))
                for column in columns:
                    said = [source.choice(words) if source.random() < 0.3 else w for w in text]
                    column.append((" ".join(text), " ".join(said)))
            found = Bootstrap(CorpusScores(columns, metric()), draws=200).difference(1)
            if documents == 5:  # the test cannot reject: 2 / 2^5 is more than 5 %
                assert found.p_value[0] > 0.05
                continue
            rejected += found.p_value[0] <= 0.05
            covered += not excludes(found.low, found.high)[0]
    assert rejected / 300 <= 0.07 and covered / 300 >= 0.93  # standard error 1.3 points


def test_no_difference_seen_is_no_proof_of_equality() -> None:
    right = np.repeat(matrix(50, 1), 2, axis=1)
    found = compared(right, 1)
    assert found.value[0] == 0 and found.p_value[0] == found.p_simultaneous[0] == 1
    assert found.low[0] == -found.high[0] < -0.05
    assert found.simultaneous_low[0] <= found.low[0]
    scored = np.repeat(np.random.default_rng(1).random((50, 1)), 2, axis=1)
    found = compared(scored, 1)
    assert found.low[0] == -found.high[0] < -0.05
    found = compared(np.full((50, 2), 0.3), 1)  # a metric within 0 and 1
    assert found.low[0] < 0 < found.high[0]
    assert np.isnan(compared(np.full((50, 2), 7.0), 1).low[0])  # nothing tells its range
    same = [[("a b c d e", "a b c d x")] * 50] * 2
    assert np.isnan(Bootstrap(CorpusScores(same, BLEU())).difference(1).low[0])


def test_intervals_for_the_chosen_cover_and_optimism_is_what_choosing_adds() -> None:
    """Eight boundaries that are all as good as the full adapter; the best-looking is chosen."""
    generator = np.random.default_rng(11)
    plain, simultaneous, rejected, gains, optimisms = 0, 0, 0, [], []
    for _ in range(400):
        values = generator.normal(size=(60, 9)) + generator.normal(size=(60, 1))
        bootstrap = Bootstrap(Means(values), draws=400)
        found, best = bootstrap.difference(8), bootstrap.best
        plain += found.low[best] <= 0 <= found.high[best]
        simultaneous += found.simultaneous_low[best] <= 0 <= found.simultaneous_high[best]
        rejected += found.p_simultaneous[best] <= 0.05
        gains.append(values[:, best].mean() - values.mean())
        optimisms.append(bootstrap.optimism())
    assert plain / 400 < 0.92  # what is chosen looks better than it is
    assert 0.93 <= simultaneous / 400 <= 1
    assert rejected / 400 <= 0.07
    assert np.mean(optimisms) == pytest.approx(np.mean(gains), rel=0.15)
    values[:, 3] += 5  # one that is far ahead owes nothing to luck
    assert Bootstrap(Means(values)).optimism() == 0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("spread", [0.5, 5.0])
def test_optimism_is_the_luck_of_the_chosen_not_of_noisier_ones(spread: float, sign: int) -> None:
    """The first is better and steady; the others are chosen only if they are very lucky."""
    luck: dict[bool, list[float]] = {True: [], False: []}
    said: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(150):
        generator = np.random.default_rng(seed)
        truth = np.array([0, -0.3, -0.3, -0.3])
        values = sign * (generator.normal(size=(50, 4)) * [0.5, spread, spread, spread] + truth)
        drawn = Bootstrap(Means(values), draws=400, higher_is_better=sign > 0)
        best = drawn.best
        luck[best == 0].append(float(sign * values[:, best].mean() - truth[best]))
        said[best == 0].append(drawn.optimism())
        assert said[best == 0][-1] >= 0
    assert np.mean(said[True]) == pytest.approx(np.mean(luck[True]), abs=0.04)
    if spread > 1:
        assert np.mean(said[False]) == pytest.approx(np.mean(luck[False]), rel=0.35)


def test_one_document_tells_nothing() -> None:
    with pytest.raises(ValueError, match="at least 2 documents, got 1"):
        Bootstrap(Means(np.ones((1, 3))))
