"""Candidates of curves with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_eval_lora_boundary.stats.aggregates import Array
from lm_eval_lora_boundary.traces.candidate import find_candidate, sharpest_rise

LAYERS = 30


def documents(curve: Array, count: int = 40, noise: float = 0.05, seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    scale = generator.uniform(0.5, 1.5, size=(count, 1))  # easy and hard documents
    return np.clip(
        curve * scale + generator.normal(0, noise, size=(count, len(curve))), 0, 1
    ).astype(float)


def step(layer: int, height: float = 0.6) -> Array:
    return np.where(np.arange(LAYERS) >= layer, height, 0.02)


@pytest.mark.parametrize("layer", range(1, LAYERS))
def test_a_step_is_found_where_it_is(layer: int) -> None:
    found = find_candidate(documents(step(layer)))
    assert (found.layer, found.low, found.high, found.share) == (layer, layer, layer, 1.0)
    assert f"boundary {layer}" in found.verdict


@pytest.mark.parametrize("layer", [5, 17, 26])
def test_a_rise_over_some_layers_is_found_at_its_middle(layer: int) -> None:
    curve = 0.7 / (1 + np.exp(-(np.arange(LAYERS) - layer + 0.5)))
    found = find_candidate(documents(curve))
    assert found.layer is not None and abs(found.layer - layer) <= 1
    assert found.low is not None and found.high is not None
    assert found.low <= layer <= found.high


def test_a_rise_that_continues_to_the_end_is_found_at_the_end() -> None:
    curve = 0.7 * np.exp((np.arange(LAYERS) - LAYERS + 1) / 3)
    assert find_candidate(documents(curve, noise=0.01)).layer == LAYERS - 1
    assert sharpest_rise(curve) == LAYERS - 1
    assert sharpest_rise(1 - curve[::-1]) == 1


@given(st.floats(0.5, 5.0), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_place_does_not_depend_on_the_scale_of_probabilities(scale: float, seed: int) -> None:
    curves = np.random.default_rng(seed).uniform(size=(6, LAYERS)).cumsum(axis=1)
    assert (sharpest_rise(curves) == sharpest_rise(curves * scale)).all()
    assert (sharpest_rise(curves) == [sharpest_rise(curve) for curve in curves]).all()


NONE: dict[str, tuple[Array, str]] = {
    "nothing": (np.full(LAYERS, 0.01), "flat"),
    "a high plateau": (np.full(LAYERS, 0.9), "flat"),
    "a fall": (np.linspace(0.9, 0.1, LAYERS), "flat"),
    "a ramp": (np.linspace(0, 0.6, LAYERS), "many steps"),
    "two steps": (step(8, 0.3) + step(20, 0.3), "many steps"),
    "three steps": (step(6, 0.2) + step(14, 0.2) + step(24, 0.2), "many steps"),
    "ups and downs": (0.2 + 0.2 * np.sin(np.arange(LAYERS) / 2), "many steps"),
}


@pytest.mark.parametrize("name", NONE)
def test_curves_without_a_single_step_have_a_verdict_and_no_candidate(name: str) -> None:
    curve, verdict = NONE[name]
    found = find_candidate(documents(curve, noise=0.01))
    assert found.layer is None
    assert verdict in found.verdict and found.verdict.startswith("no single boundary")


def test_few_documents_that_disagree_are_uncertain() -> None:
    curves = np.stack([step(10, 0.9), step(20, 0.42), np.full(LAYERS, 0.02)])
    found = find_candidate(curves)
    assert found.layer is None and found.verdict.startswith("no single boundary, uncertain")
    # the sharpest rise is at 10 unless the first of three documents is not drawn: (2/3)³
    assert found.share == pytest.approx(1 - 8 / 27, abs=0.03)
    assert (found.low, found.high) == (10, 20)
    assert find_candidate(np.repeat(curves, 20, axis=0)).layer == 10


def test_noise_rarely_has_a_candidate() -> None:
    generator = np.random.default_rng(0)
    candidates = sum(
        find_candidate(generator.uniform(size=(count, LAYERS)), draws=300).layer is not None
        for count in (2, 5, 20, 50)
        for _ in range(50)
    )
    assert candidates <= 4  # of 200


def test_the_interval_covers_the_true_place_about_as_often_as_it_claims() -> None:
    held = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        places = np.clip(np.round(generator.normal(15, 1.5, size=30)), 5, 25)
        curves = (np.arange(LAYERS) >= places[:, None]) * 0.8
        found = find_candidate(curves, draws=400)
        assert found.low is not None and found.high is not None
        held += found.low <= 15 <= found.high
    assert held >= 48


def test_draws_are_the_same_every_time() -> None:
    curves = documents(step(12), 15, 0.3)
    assert find_candidate(curves) == find_candidate(curves.copy())


@pytest.mark.parametrize("shape", [(1, LAYERS), (5, 1)])
def test_one_document_or_layer_has_no_candidate(shape: tuple[int, int]) -> None:
    found = find_candidate(np.ones(shape))
    assert (found.layer, found.low, found.high, found.share) == (None, None, None, None)
    assert "one" in found.verdict


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_small_models_work(layers: int) -> None:
    curves = documents(np.where(np.arange(layers) >= 1, 0.8, 0.0), 10, 0.0)
    assert find_candidate(curves).layer == 1
