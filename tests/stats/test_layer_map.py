"""The layer map: agreement with direct formulas and with scipy, and symmetries."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu import CHRF

from lm_eval_lora_boundary.stats.layer_map import layer_effects
from lm_eval_lora_boundary.stats.statistic import CorpusScores, Means

LAYERS = 6


def scores(documents: int = 60, seed: int = 0, shift: float = 0.3) -> np.ndarray:
    """Return values with the reference in column 0, and layers of growing effect after it."""
    source = np.random.default_rng(seed)
    skill = source.normal(size=(documents, 1))
    noise = source.normal(size=(documents, LAYERS + 1))
    return skill + noise - shift * np.arange(LAYERS + 1)


def effects(values: np.ndarray, **options: Any) -> list[dict[str, float | None]]:
    options = {"dropped": True, "higher_is_better": True} | options
    means = values.mean(axis=0).tolist()
    columns = options.pop("columns", range(1, values.shape[1]))
    return layer_effects(Means(values), means, 0, columns, **options)


def numbers(found: list[dict[str, float | None]], key: str) -> np.ndarray:
    return np.array([each[key] for each in found], dtype=float)


def t(differences: np.ndarray) -> np.ndarray:
    return scipy.stats.ttest_1samp(differences, 0, axis=0).statistic  # type: ignore[no-any-return]


def test_effects_intervals_and_p_values_agree_with_direct_formulas() -> None:
    values = scores()
    found = effects(values)
    differences = values[:, [0]] - values[:, 1:]
    assert numbers(found, "effect") == pytest.approx(differences.mean(axis=0))
    source = np.random.default_rng(99)
    largest = np.array(
        [
            np.abs(t(differences * source.choice([-1, 1], size=(len(values), 1)))).max()
            for _ in range(4000)
        ]
    )
    expected = (largest[:, None] >= np.abs(t(differences))).mean(axis=0)
    assert numbers(found, "p_value") == pytest.approx(expected, abs=0.02)
    half = np.quantile(largest, 0.95) * scipy.stats.sem(differences, axis=0)
    for key, sign in (("ci_low", -1), ("ci_high", 1)):
        ends = differences.mean(axis=0) + sign * half
        assert numbers(found, key) == pytest.approx(ends, abs=0.1 * half.max())


def test_a_single_layer_needs_no_correction() -> None:
    values = scores(shift=0.2)
    (found,) = effects(values, columns=[2])
    expected = scipy.stats.permutation_test(
        (values[:, 0] - values[:, 2],),
        lambda differences, axis: differences.mean(axis=axis),
        permutation_type="samples",
        n_resamples=10_000,
        rng=np.random.default_rng(1),
    )
    assert found["p_value"] == pytest.approx(expected.pvalue, abs=0.01)
    together = effects(values)[1]
    assert together["p_value"] is not None and found["p_value"] is not None
    assert together["p_value"] >= found["p_value"]


@pytest.mark.parametrize("dropped", [True, False])
@pytest.mark.parametrize("higher_is_better", [True, False])
def test_positive_means_that_the_layer_helps(dropped: bool, higher_is_better: bool) -> None:
    # layers help: without one the metric is worse than with all, with one better than with none
    worse = dropped == higher_is_better
    values = scores(shift=1.0 if worse else -1.0)
    found = effects(values, dropped=dropped, higher_is_better=higher_is_better)
    assert (numbers(found, "effect") > 0.5).all()
    assert (numbers(found, "ci_low")[1:] > 0).all()
    mirrored = effects(values, dropped=not dropped, higher_is_better=not higher_is_better)
    assert mirrored == found
    opposite = effects(values, dropped=not dropped, higher_is_better=higher_is_better)
    assert numbers(opposite, "effect") == pytest.approx(-numbers(found, "effect"))
    assert numbers(opposite, "ci_low") == pytest.approx(-numbers(found, "ci_high"))
    assert numbers(opposite, "p_value") == pytest.approx(numbers(found, "p_value"))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.permutations(range(1, LAYERS + 1)), st.booleans())
def test_an_interval_holds_its_effect_and_agrees_with_its_p_value(
    seed: int, columns: list[int], binary: bool
) -> None:
    values = scores(30, seed)
    if binary:
        values = (values > 0).astype(float)
    found = effects(values, columns=columns)
    for each in found:
        low, effect, high = each["ci_low"], each["effect"], each["ci_high"]
        assert low is not None and high is not None and effect is not None
        assert low <= effect + 1e-12 and effect <= high + 1e-12
        if low > 0 or high < 0:
            assert each["p_value"] is not None and each["p_value"] <= 0.05 + 1e-9
    # the order of the layers does not matter
    ascending = effects(values)
    for key in ("effect", "ci_low", "p_value"):
        reordered = [ascending[column - 1][key] for column in columns]
        assert numbers(found, key) == pytest.approx(np.array(reordered, dtype=float))


def test_a_cut_that_equals_the_reference_has_no_effect() -> None:
    values = scores()
    values[:, 3] = values[:, 0]
    found = effects(values)[2]
    assert found["effect"] == 0 and math.copysign(1, found["effect"]) == 1
    assert found["ci_low"] is not None and found["ci_high"] is not None
    assert found["ci_low"] <= 0 <= found["ci_high"] and found["p_value"] == 1
    itself = effects(values, columns=[0, 1])[0]
    assert itself == {"effect": 0.0, "ci_low": 0.0, "ci_high": 0.0, "p_value": 1.0}


def test_what_is_not_available_is_none() -> None:
    values, columns = scores(), range(1, LAYERS + 1)
    means = values.mean(axis=0).tolist()
    options = {"dropped": True, "higher_is_better": True}
    found = layer_effects(None, means, 0, columns, **options)
    assert numbers(found, "effect") == pytest.approx(means[0] - np.array(means[1:]))
    assert {(each["ci_low"], each["ci_high"], each["p_value"]) for each in found} == {(None,) * 3}
    (one, *_) = layer_effects(Means(values[:1]), values[0].tolist(), 0, columns, **options)
    assert one["effect"] is not None and one["ci_low"] is one["p_value"] is None
    # a cut without a value is left out, and does not change the others
    missing = [*means[:2], math.nan, *means[3:]]
    nothing = dict.fromkeys(("effect", "ci_low", "ci_high", "p_value"))
    found = layer_effects(Means(values), missing, 0, columns, **options)
    assert found[1] == nothing
    assert [found[0], *found[2:]] == effects(values, columns=[1, *range(3, LAYERS + 1)])
    # without a reference there is nothing to compare with
    found = layer_effects(Means(values), [math.nan, *means[1:]], 0, columns, **options)
    assert found == [nothing] * LAYERS
    assert layer_effects(Means(values), means, 0, [], **options) == []


def test_corpus_metrics_have_a_map_too() -> None:
    source = np.random.default_rng(0)
    texts = [" ".join(source.choice(list("abcdefgh"), size=9)) for _ in range(40)]
    columns = [[(text, text[: 17 - 4 * column]) for text in texts] for column in range(3)]
    statistic = CorpusScores.of_texts(columns, CHRF())
    whole, *others = statistic.observed.tolist()
    found = layer_effects(
        statistic, [whole, *others], 0, [1, 2], dropped=True, higher_is_better=True
    )
    assert numbers(found, "effect") == pytest.approx([whole - other for other in others])
    assert (numbers(found, "ci_low") > 0).all() and (numbers(found, "p_value") < 0.05).all()
