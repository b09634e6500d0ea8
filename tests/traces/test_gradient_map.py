"""From gradients to the map, the curve, what they suggest, and how well they predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from lm_eval_lora_boundary.report.gradient_plots import plot_gradient
from lm_eval_lora_boundary.report.layer_overlap import rank_correlation
from lm_eval_lora_boundary.traces.gradient import STRENGTHS, Gradient
from lm_eval_lora_boundary.traces.layer_map import (
    Measured,
    boundaries_to_try,
    layer_map,
    summary,
)

Array = np.ndarray[Any, Any]


def made(documents: int = 3, layers: int = 6) -> tuple[list[Gradient], Array]:
    """Return gradients of log-probabilities that are polynomials of degree 6 in the strengths.

    And the coefficients, ``(documents, layers, 6)``, from ``s`` to ``s**6``. The layers do not
    interact, so the share of each is known.
    """
    coefficients = np.random.default_rng(5).normal(size=(documents, layers, 6))
    powers = np.arange(1, 7)
    s = np.array(STRENGTHS)[:, None]
    values = coefficients.sum(axis=1) @ (s**powers).T - 9.0
    derivatives = coefficients @ (powers * s ** (powers - 1)).T  # (documents, layers, strengths)
    gradients = [Gradient(v, d.T) for v, d in zip(values, derivatives, strict=True)]
    return gradients, coefficients


def test_boules_rule_is_exact_for_polynomials_of_degree_6() -> None:
    gradients, coefficients = made()
    found = layer_map(gradients)
    shares = coefficients.sum(axis=2)  # (documents, layers)
    rows = found["layers"]
    assert [row["layer"] for row in rows] == list(range(6))
    assert [row["integral"] for row in rows] == pytest.approx(shares.mean(axis=0))
    curves = shares.cumsum(axis=1)
    assert [row["curve"] for row in rows] == pytest.approx(curves.mean(axis=0))
    assert found["sum"] == pytest.approx(found["gain"])
    costs = coefficients @ np.arange(1, 7)
    assert [row["map"] for row in rows] == pytest.approx(costs.mean(axis=0))
    for name, values in (("map", costs), ("integral", shares), ("curve", curves)):
        expected = scipy.stats.sem(values, axis=0)
        assert [row[f"{name}_stderr"] for row in rows] == pytest.approx(expected)
    at_ends = [0.0, shares.sum(axis=1).mean()]
    assert [found["logprob"][i] + 9 for i in (0, -1)] == pytest.approx(at_ends)
    assert (found["documents"], found["unit"], found["measured"]) == (3, "nats per document", None)


def test_the_suggestions_are_the_highest_points() -> None:
    slopes = np.array([0.5, 2.0, -1.0, 0.25, -0.5])
    last = np.array([0.5, 2.0, -1.0, 1.5, -0.5])  # at strength 1, layer 3 counts for more
    derivative = np.stack([slopes, slopes, slopes, slopes, last])
    value = Gradient(np.zeros(5), derivative)
    found = layer_map([value])
    assert (found["suggested"], found["suggested_by_curve"]) == (3, 1)
    assert [row["map_stderr"] for row in found["layers"]] == [None] * 5
    nothing = layer_map([Gradient(np.zeros(5), -np.ones((5, 4)))])
    assert (nothing["suggested"], nothing["suggested_by_curve"]) == (-1, -1)
    # layers without LoRA add nothing, so the lowest boundary counts
    derivative[:, 2:] = 0
    assert layer_map([value])["suggested"] == 1


def test_the_map_suggests_nothing_that_loses_the_gain() -> None:
    """Where the answer is no longer improved at full strength, all of the map may be negative."""
    useful = np.array([1.0, 2.0, 2.0, 0.1, 0.1])
    saturated = np.array([-0.3, -0.2, -0.1, 0.05, -0.2])
    derivative = np.stack([3 * useful, useful, useful, useful, saturated])
    found = layer_map([Gradient(np.zeros(5), derivative)])
    kept = np.cumsum([row["integral"] for row in found["layers"]]) / found["sum"]
    assert found["suggested"] == 3 and kept[3] >= 0.9 > kept[1]
    # an adapter that only harms has no gain to keep
    harm = layer_map([Gradient(np.zeros(5), -derivative)])
    assert harm["suggested_by_curve"] == -1


def test_a_measurement_is_compared_with_the_prediction() -> None:
    gradients, _ = made(documents=4)
    generator = np.random.default_rng(8)
    measured = Measured(generator.normal(size=(4, 6)), generator.normal(size=(4, 7)))
    measured.upper[:, 3] += 5  # boundary 2 is the best
    found = layer_map(gradients, measured)
    compared = found["measured"]
    means = measured.upper.mean(axis=0)
    lost = measured.upper[:, -1:] - measured.without
    assert [row["map"] for row in compared["layers"]] == pytest.approx(lost.mean(axis=0))
    assert [row["map_stderr"] for row in compared["layers"]] == pytest.approx(
        scipy.stats.sem(lost, axis=0)
    )
    assert [row["curve"] for row in compared["layers"]] == pytest.approx(means[1:] - means[0])
    assert compared["best"] == 2
    assert compared["loss"] == pytest.approx(means.max() - means[found["suggested"] + 1])
    by_curve = means[found["suggested_by_curve"] + 1]
    assert compared["loss_by_curve"] == pytest.approx(means.max() - by_curve)
    curve = [0.0, *(row["curve"] for row in found["layers"])]
    rho = scipy.stats.spearmanr(curve, means).statistic
    assert compared["curve_rho"] == pytest.approx(rho)
    rho = scipy.stats.spearmanr([row["map"] for row in found["layers"]], lost.mean(axis=0))
    assert compared["map_rho"] == pytest.approx(rho.statistic)
    error = np.abs(np.array(curve) - (means - means[0])).mean()
    assert compared["curve_error"] == pytest.approx(error)


def test_rank_correlations_are_scipys_also_in_ties() -> None:
    generator = np.random.default_rng(2)
    for _ in range(20):
        one, other = generator.integers(0, 4, size=(2, 9)).astype(float)
        expected = scipy.stats.spearmanr(one, other).statistic
        assert rank_correlation(one, other) == pytest.approx(expected)
    assert rank_correlation(np.ones(3), np.arange(3.0)) is None
    assert rank_correlation(np.arange(3.0), np.ones(3)) is None


@pytest.mark.parametrize(
    ("layers", "suggested", "by_curve", "expected"),
    [
        (30, 20, 20, [-1, 18, 20, 22, 29]),
        (30, 20, 23, [-1, 18, 20, 23, 29]),
        (30, 20, 18, [-1, 18, 20, 22, 29]),
        (30, 29, 29, [-1, 23, 25, 27, 29]),
        (30, -1, -1, [-1, 1, 3, 5, 29]),
        (30, 28, 28, [-1, 24, 26, 28, 29]),
        (80, 60, 60, [-1, 55, 60, 65, 79]),
        (6, 3, 3, [-1, 2, 3, 4, 5]),
        (3, 1, 1, [-1, 0, 1, 2]),
        (1, 0, 0, [-1, 0]),
    ],
)
def test_five_boundaries_around_the_suggestions(
    layers: int, suggested: int, by_curve: int, expected: list[int]
) -> None:
    found = {
        "layers": [{}] * layers,
        "suggested": suggested,
        "suggested_by_curve": by_curve,
    }
    assert boundaries_to_try(found) == expected
    every = boundaries_to_try(found, evaluations=99)
    assert every == list(range(-1, layers))


def test_the_summary_names_layers_and_the_suggestion() -> None:
    gradients, _ = made()
    found = layer_map(gradients)
    first, second = summary(found)
    costs = [row["map"] for row in found["layers"]]
    top = int(np.argmax(costs))
    assert first == (
        "layers whose LoRA helps most, in nats per document of gold log-probability: "
        + ", ".join(f"{layer} ({costs[layer]:+.2f})" for layer in np.argsort(costs)[::-1][:3])
    )
    assert f": {top} (" in first
    assert second.startswith(f"suggested boundary: {found['suggested']}; the layers add up to")
    measured = Measured(np.zeros((3, 6)), np.zeros((3, 7)))
    *_, third = summary(layer_map(gradients, measured))
    assert third == (
        "measured: best boundary -1; the suggested one loses 0.00; rank correlation of the map "
        "unknown, of the curve unknown"
    )


@pytest.mark.parametrize("documents", [1, 4])
@pytest.mark.parametrize("with_measured", [False, True])
def test_the_plot_shows_what_there_is(documents: int, with_measured: bool, tmp_path: Path) -> None:
    gradients, _ = made(documents)
    generator = np.random.default_rng(8)
    shapes = (documents, 6), (documents, 7)
    measured = Measured(*(generator.normal(size=shape) for shape in shapes))
    found = layer_map(gradients, measured if with_measured else None)
    plot_gradient(found, tmp_path)
    drawing = (tmp_path / "gradient.svg").read_text().replace("−", "-")
    first = (tmp_path / "gradient.png").read_bytes()
    assert f">suggested: {found['suggested']}<" in drawing
    assert (">measured<" in drawing) == (">best: " in drawing) == with_measured
    if with_measured:
        assert f">best: {found['measured']['best']}<" in drawing
    plot_gradient(found, tmp_path)
    assert (tmp_path / "gradient.png").read_bytes() == first
