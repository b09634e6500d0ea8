"""Paired bootstrap: against scipy, by simulation, and where there is nothing to tell."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from lm_eval_lora_boundary.stats import paired_bootstrap


def matrix(documents: int, columns: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    skill = generator.normal(size=(documents, 1))
    return ((skill + generator.normal(size=(documents, columns))) > 0).astype(float)


def test_intervals_agree_with_scipy() -> None:
    values = matrix(60, 3)
    found = paired_bootstrap(values, reference=2)
    for column in (0, 1):
        expected = scipy.stats.bootstrap(
            (values[:, column] - values[:, 2],),
            np.mean,
            n_resamples=20_000,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        # steps of one document in 60, and noise of 10,000 draws
        assert found.ci_low[column] == pytest.approx(expected.low, abs=0.018)
        assert found.ci_high[column] == pytest.approx(expected.high, abs=0.018)


def test_p_values_agree_with_scipy() -> None:
    values = np.random.default_rng(3).normal(size=(80, 4)) + np.array([0.3, 0.1, 0.5, 0])
    found = paired_bootstrap(values, reference=3)
    for column in range(3):
        expected = scipy.stats.ttest_rel(values[:, column], values[:, 3]).pvalue
        # 10,000 draws, and the bootstrap's spread is that of n instead of n - 1
        assert found.p_value[column] == pytest.approx(expected, abs=0.02)


def test_a_column_does_not_differ_from_itself() -> None:
    values = matrix(30, 4)
    values[:, 1] = values[:, 3]
    found = paired_bootstrap(values, reference=3)
    for column in (1, 3):
        assert found.ci_low[column] == found.ci_high[column] == 0
        assert found.p_value[column] == 1


def test_the_smaller_of_equals_wins() -> None:
    values = np.repeat(matrix(30, 1), 3, axis=1)
    assert paired_bootstrap(values, 2).win_rate.tolist() == [1, 0, 0]
    values[:, 0] = 0
    found = paired_bootstrap(values, 2)
    assert found.win_rate.tolist() == [0, 1, 0]
    assert found.not_worse.tolist() == [False, True, True]
    lower = paired_bootstrap(values, 2, higher_is_better=False)
    assert lower.win_rate.tolist() == [1, 0, 0]
    assert lower.not_worse.tolist() == [True, False, False]


def test_intervals_cover() -> None:
    """Nominal 95 %: 2,000 experiments leave a standard error of 0.5 points."""
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(2000):
        skill = generator.normal(size=(100, 1))
        values = ((skill + generator.normal(size=(100, 2)) + [0.3, 0]) > 0).astype(float)
        found = paired_bootstrap(values, 1, draws=500)
        # P(x > 0) for a sum of two standard normals, shifted by 0.3
        truth = scipy.stats.norm.cdf(0.3 / np.sqrt(2)) - 0.5
        covered += found.ci_low[0] <= truth <= found.ci_high[0]
    assert 0.93 <= covered / 2000 <= 0.97


def test_one_document_tells_nothing() -> None:
    with pytest.raises(ValueError, match="at least 2 documents, got 1"):
        paired_bootstrap(np.ones((1, 3)), 0)
