"""Paired statistics: against scipy and sacrebleu, by simulation, and where nothing can be told."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_lora_boundary.statistic import Means
from lm_eval_lora_boundary.stats import Bootstrap, Difference, holm, mcnemar


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
        # 400 documents: what the expanded interval adds is 0.4 %; the rest is noise of the draws
        assert found.low[column] == pytest.approx(expected.low, abs=0.04 * width)
        assert found.high[column] == pytest.approx(expected.high, abs=0.04 * width)
    low, high = bootstrap.interval()
    student = scipy.stats.t.interval(0.95, 399, values.mean(0), scipy.stats.sem(values))
    assert np.abs(np.array([low, high]) - student).max() < 0.02


def test_p_values_agree_with_scipy() -> None:
    values = np.random.default_rng(3).normal(size=(80, 4)) + np.array([0.3, 0.1, 0.5, 0])
    found = compared(values, reference=3)
    for column in range(3):
        expected = scipy.stats.ttest_rel(values[:, column], values[:, 3]).pvalue
        # 10,000 draws, and the bootstrap's spread is that of n instead of n - 1
        assert found.p_value[column] == pytest.approx(expected, abs=0.02)


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
    for column in (1, 3):
        assert found.low[column] == found.high[column] == found.loss_risk[column] == 0
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


def experiments(documents: int, repeats: int = 1000) -> dict[str, float]:
    """Return how often intervals cover the truth: of right-or-wrong, and of skewed values."""
    generator = np.random.default_rng(documents)
    # P(x > 0) for a sum of two standard normals, shifted by 0.3
    truths = {"binary": scipy.stats.norm.cdf(0.3 / np.sqrt(2)) - 0.5, "skewed": 0.1}
    covered = dict.fromkeys(truths, 0)
    for _ in range(repeats):
        skill = generator.normal(size=(documents, 1))
        noise = generator.normal(size=(documents, 2))
        values = {
            "binary": ((skill + noise + [0.3, 0]) > 0).astype(float),
            "skewed": generator.gamma(1.5, 0.2, size=(documents, 1)) * [1 + 1 / 3, 1],
        }
        for name, truth in truths.items():
            found = compared(values[name], 1, draws=800)
            covered[name] += found.low[0] - 1e-9 <= truth <= found.high[0] + 1e-9
    return {name: count / repeats for name, count in covered.items()}


@pytest.mark.parametrize("documents", [50, 100, 400])
def test_intervals_cover(documents: int) -> None:
    """Nominal 95 %: 1,000 experiments leave a standard error of 0.7 points."""
    rates = experiments(documents)
    assert all(0.93 <= rate <= 0.97 for rate in rates.values()), rates


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
    assert abs(Bootstrap(Means(values)).optimism()) < 0.01


def test_one_document_tells_nothing() -> None:
    with pytest.raises(ValueError, match="at least 2 documents, got 1"):
        Bootstrap(Means(np.ones((1, 3))))
