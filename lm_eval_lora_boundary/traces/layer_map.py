"""From gradients to a map of the layers and a curve over the boundaries, beside measured ones.

All values are in nats per document: differences of the log-probability of the gold answer, summed
over its tokens, and averaged over documents.

The **map** is the derivative by the strength of a layer where all strengths are 1. To first order,
it is what the answer loses when the LoRA of that layer alone is dropped (Michel et al., 2019, "Are
Sixteen Heads Really Better than One?", use the same derivative for attention heads). It suggests
the boundary where its sum is the highest, among those that keep most of the gain on the curve.

The **curve** adds up, over layers ``0..K``, the integral of the derivative along the way from the
base model to the whole adapter, with one strength for all layers. These are integrated gradients
(Sundararajan et al., 2017, "Axiomatic Attribution for Deep Networks"). Over all layers they add up
to the gain exactly, but for the error of the quadrature: the difference of ``sum`` and ``gain``
shows it. That a boundary keeps the share of its layers is an approximation: along the way that is
integrated, the layers above have LoRA too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cuts.keep import Cut
from ..report.layer_overlap import rank_correlation
from .gradient import STRENGTHS, Gradient

Array = npt.NDArray[np.float64]

EVALUATIONS = 5  # of a sweep that takes its boundaries from a gradient
_BOOLE = np.array([7, 32, 12, 32, 7]) / 90  # weights of Boole's rule at STRENGTHS
_NEAR = 0.9  # of the gain that the curve expects
_STEP = 15  # neighbours are one layer away for every 15 layers
_SHOWN = 3  # layers in a summary


@dataclass(frozen=True)
class Measured:
    """The gold log-probability under every cut that a map and a curve are about.

    Attributes:
        without: With the LoRA of one layer dropped, ``(documents, layers)``.
        upper: At the boundaries ``-1..N-1``, ``(documents, layers + 1)``.
    """

    without: Array
    upper: Array

    @staticmethod
    def cuts(layers: int) -> tuple[list[Cut], list[Cut]]:
        """Return the cuts to measure: each layer dropped, and every boundary."""
        without = [Cut((1.0,) * i + (0.0,) + (1.0,) * (layers - 1 - i)) for i in range(layers)]
        return without, [Cut.up_to(boundary, layers) for boundary in range(-1, layers)]

    @staticmethod
    def of(values: Mapping[Cut, Array], layers: int) -> Measured:
        """Arrange the values of :func:`.measure`."""
        without, upper = Measured.cuts(layers)
        return Measured(
            np.stack([values[cut] for cut in without], axis=1),
            np.stack([values[cut] for cut in upper], axis=1),
        )


def layer_map(gradients: Sequence[Gradient], measured: Measured | None = None) -> dict[str, Any]:
    """Return what ``trace.json`` says about the gradients of a task's documents.

    Args:
        gradients: One for each document.
        measured: The same documents, measured; None if they were not.
    """
    logprob = np.stack([each.logprob for each in gradients])  # (documents, strengths)
    derivative = np.stack([each.derivative for each in gradients])  # (documents, strengths, layers)
    at_full = derivative[:, -1]  # (documents, layers)
    integral = np.einsum("s,dsl->dl", _BOOLE, derivative)
    curve = integral.cumsum(axis=1)
    columns = {
        **_mean_and_error("map", at_full),
        **_mean_and_error("integral", integral),
        **_mean_and_error("curve", curve),
    }
    # At the boundaries -1..N-1. The costs of the layers above a boundary are, up to a constant, the
    # sum over those below.
    by_curve = np.append(0.0, curve.mean(axis=0))
    by_map = np.append(0.0, at_full.mean(axis=0).cumsum())
    # The map is about cuts near the whole adapter, and says nothing about those that lose much.
    near = by_curve >= _NEAR * by_curve[-1] if by_curve[-1] > 0 else np.full(len(by_curve), True)
    suggested, suggested_by_curve = _best(np.where(near, by_map, -np.inf)), _best(by_curve)
    found = {
        "unit": "nats per document",
        "documents": len(gradients),
        "strengths": list(STRENGTHS),
        "logprob": logprob.mean(axis=0).tolist(),
        "layers": _rows(columns),
        "gain": float((logprob[:, -1] - logprob[:, 0]).mean()),
        "sum": float(by_curve[-1]),
        "suggested": suggested,
        "suggested_by_curve": suggested_by_curve,
        "measured": None,
    }
    if measured is not None:
        found["measured"] = _compared(found, by_curve, measured)
    return found


def boundaries_to_try(found: Mapping[str, Any], evaluations: int = EVALUATIONS) -> list[int]:
    """Return the boundaries that are worth scoring, ascending.

    These are the base model and the whole adapter, the boundary that the map suggests, the one
    that the curve suggests, and then neighbours of the first: one step below and above it, two
    steps, and so on, until there are enough. A step is one layer for every 15 layers of the model,
    because neighbouring boundaries differ little in deep models.

    Args:
        found: What :func:`layer_map` returned.
        evaluations: How many boundaries to return; all, if the model has no more.
    """
    full = len(found["layers"]) - 1
    chosen = dict.fromkeys((-1, full, found["suggested"], found["suggested_by_curve"]))
    step = max(1, round(len(found["layers"]) / _STEP))
    # all multiples of a step first, then all layers
    distances = [*range(step, full + 2, step), *range(1, full + 2)]
    for distance in distances:
        for boundary in (found["suggested"] - distance, found["suggested"] + distance):
            if len(chosen) < evaluations and -1 <= boundary <= full:
                chosen[boundary] = None
    return sorted(chosen)


def summary(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that say in words what :func:`layer_map` found."""
    costs = sorted(found["layers"], key=lambda row: (-row["map"], row["layer"]))[:_SHOWN]
    listed = ", ".join(f"{row['layer']} ({row['map']:+.2f})" for row in costs)
    yield f"layers whose LoRA helps most, in {found['unit']} of gold log-probability: {listed}"
    yield (
        f"suggested boundary: {found['suggested']}; the layers add up to {found['sum']:.2f}, "
        f"the measured gain is {found['gain']:.2f}"
    )
    measured = found["measured"]
    if measured is not None:
        yield (
            f"measured: best boundary {measured['best']}; the suggested one loses "
            f"{measured['loss']:.2f}; rank correlation of the map {_number(measured['map_rho'])}, "
            f"of the curve {_number(measured['curve_rho'])}"
        )


def _compared(found: Mapping[str, Any], by_curve: Array, measured: Measured) -> dict[str, Any]:
    """Return the measured map and curve, and how well the gradient predicted them."""
    full, base = measured.upper[:, -1:], measured.upper[:, :1]
    lost, gained = full - measured.without, measured.upper - base
    means = gained.mean(axis=0)  # (boundaries,)
    columns = {**_mean_and_error("map", lost), **_mean_and_error("curve", gained[:, 1:])}
    predicted = np.array([row["map"] for row in found["layers"]])
    best = _best(means)
    return {
        "layers": _rows(columns),
        "map_rho": rank_correlation(predicted, lost.mean(axis=0)),
        "curve_rho": rank_correlation(by_curve, means),
        "curve_error": float(np.abs(by_curve - means).mean()),
        "best": best,
        "loss": float(means[best + 1] - means[found["suggested"] + 1]),
        "loss_by_curve": float(means[best + 1] - means[found["suggested_by_curve"] + 1]),
    }


def _best(values: Array) -> int:
    """Return the boundary of the largest of the values at ``-1..N-1``; the lowest in a tie."""
    # rounding must not break ties
    return int(np.argmax(np.round(values, 12))) - 1


def _mean_and_error(name: str, values: Array) -> dict[str, Sequence[float | None]]:
    """Return the mean over documents and its standard error, for every layer.

    Args:
        name: Name of the column; that of the error ends with ``_stderr``.
        values: ``(documents, layers)``.
    """
    count, layers = values.shape
    error: list[float | None] = [None] * layers
    if count > 1:
        error = (values.std(axis=0, ddof=1) / np.sqrt(count)).tolist()
    return {name: values.mean(axis=0).tolist(), f"{name}_stderr": error}


def _rows(columns: Mapping[str, Sequence[float | None]]) -> list[dict[str, Any]]:
    """Return a row for every layer."""
    return [
        {"layer": layer} | dict(zip(columns, row, strict=True))
        for layer, row in enumerate(zip(*columns.values(), strict=True))
    ]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
