"""Test and interval of a difference never contradict each other."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_eval_lora_boundary.stats.aggregates import Aggregates, Array
from lm_eval_lora_boundary.stats.bootstrap import Bootstrap, mcnemar
from lm_eval_lora_boundary.stats.permutation import PermutationTest, approximate_randomisation
from lm_eval_lora_boundary.stats.statistic import Means, Statistic
from lm_eval_lora_boundary.upstream.lm_eval import own_aggregation

weighted_perplexity = own_aggregation("word_perplexity", None)
assert weighted_perplexity is not None
DOCUMENTS = st.integers(2, 30)


def statistic(kind: str, documents: int, generator: np.random.Generator) -> Statistic:
    shift = np.array([generator.random() * 2, 0, generator.random() * 4])
    normal = generator.normal(size=(documents, 1)) + generator.normal(size=(documents, 3)) + shift
    if kind == "right or wrong":
        return Means((normal > 1).astype(float))
    if kind == "mean":
        return Means(normal)
    if kind == "rarely different":
        return Means(np.where(generator.random((documents, 3)) < 0.2, normal, 0.5))
    # texts under which a model breaks down: perplexities spread over many orders of magnitude
    columns = [
        [(-float(np.exp(value)), int(generator.integers(2, 9))) for value in column]
        for column in normal.T
    ]
    return Aggregates(columns, weighted_perplexity)


def assert_agrees(p_value: Array, low: Array, high: Array, centre: Array) -> None:
    """Assert that intervals leave out zero exactly where the test rejects."""
    for p, lower, upper, value in zip(p_value, low, high, centre, strict=True):
        if np.isnan(lower):
            assert p > 0.05
        elif p > 0.05:
            assert lower <= 0 <= upper
        else:  # the interval of a 0/1 metric may end at zero
            assert (lower >= 0 and value > 0) or (upper <= 0 and value < 0)
            assert lower <= value <= upper


@pytest.mark.parametrize("kind", ["right or wrong", "mean", "rarely different", "perplexity"])
@given(documents=DOCUMENTS, seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_the_interval_leaves_out_zero_exactly_where_the_test_rejects(
    kind: str, documents: int, seed: int
) -> None:
    made = statistic(kind, documents, np.random.default_rng(seed))
    result = Bootstrap(made, draws=400).difference(1)
    assert_agrees(result.p_value, result.low, result.high, result.value)
    assert_agrees(
        result.p_simultaneous, result.simultaneous_low, result.simultaneous_high, result.value
    )
    assert (result.p_simultaneous >= result.p_value).all()


def approximate(value: float, stderr: float, permuted: Array, documents: int) -> PermutationTest:
    number = np.array([documents])
    return approximate_randomisation(
        np.array([value]), np.array([stderr]), permuted[:, None], number, documents
    )


def test_six_texts_of_which_one_breaks_the_model() -> None:
    """Every text is worse, by very different amounts: the test alone would say p = 1/32."""
    columns = [[(-5.0 - i, 4) for i in range(6)], [(-7.0 - 20.0 * i, 4) for i in range(6)]]
    result = Bootstrap(Aggregates(columns, weighted_perplexity)).difference(0)
    assert result.low[1] <= 0 <= result.high[1]
    assert result.p_value[1] > 0.05 and result.p_simultaneous[1] > 0.05


@given(st.integers(10, 40), st.floats(0.5, 6), st.integers(0, 1000))
def test_a_wide_bootstrap_error_counts_in_the_test(documents: int, ratio: float, seed: int) -> None:
    permuted = np.random.default_rng(seed).normal(size=400)
    permuted[0] = 3.0
    result = approximate(3.0, 3.0 / ratio, permuted, documents)
    assert (result.p_value[0] <= 0.05) == (result.low[0] > 0)
    # never smaller than the share of permutations that lie as far apart
    assert result.p_value[0] >= (np.abs(permuted) >= 3.0).mean()


@pytest.mark.parametrize("documents", [6, 7, 9])
def test_few_documents_are_also_tested_with_students_t(documents: int) -> None:
    for seed in range(40):
        values = np.random.default_rng(seed).normal(size=(documents, 2)) + np.array([1.5, 0])
        differences = values[:, 0] - values[:, 1]
        swapped = scipy.stats.permutation_test(
            (differences,),
            lambda sample, axis: sample.mean(axis=axis),
            permutation_type="samples",
            n_resamples=np.inf,
        ).pvalue
        student = scipy.stats.ttest_1samp(differences, 0).pvalue
        result = Bootstrap(Means(values), draws=400).difference(1)  # all swaps are listed
        assert result.p_value[0] == pytest.approx(max(swapped, student))


def test_right_or_wrong_keeps_mcnemars_p_value() -> None:
    """Seven gained, one lost: the test rejects, and Bonett and Price's interval would not."""
    values = np.zeros((400, 2))
    values[:7, 0] = values[7, 1] = 1
    result = Bootstrap(Means(values), draws=100).difference(1)
    assert result.p_value[0] == mcnemar(values[:, 0], values[:, 1]) <= 0.05
    assert result.low[0] == 0 < result.value[0] < result.high[0]
