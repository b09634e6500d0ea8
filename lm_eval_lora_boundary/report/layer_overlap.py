"""Whether tasks need the same layers: the overlap of their layer maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from .data import LayerEffect

Array = npt.NDArray[np.float64]
# the most important layers are the quarter with the largest effects, rounded down, but at least one
PART = 4


@dataclass(frozen=True)
class Overlap:
    """How far the layer maps of two tasks agree.

    Attributes:
        tasks: Their names.
        important: How many layers count as the most important ones of a task.
        shared: The share of these that two tasks have in common.
        chance: The share that two maps in random order would have in common on average.
        rho: Spearman's rank correlation of all effects; None if all effects of a task are equal.
    """

    tasks: tuple[str, str]
    important: int
    shared: float
    chance: float
    rho: float | None


def overlaps(maps: Mapping[str, Sequence[LayerEffect]]) -> list[Overlap]:
    """Compare every two tasks on the layers that both have an effect for."""
    effects = {
        task: {each.layer: each.effect for each in found if each.effect is not None}
        for task, found in maps.items()
    }
    found = []
    for a, b in combinations(effects, 2):
        both = sorted(effects[a].keys() & effects[b].keys())
        if len(both) > 1:
            x, y = (np.array([effects[task][layer] for layer in both]) for task in (a, b))
            important = _number(len(both))
            # layers at a tie count in part: as often as a random order would take them
            shared = float(_weights(x) @ _weights(y)) / important
            chance, rho = important / len(both), rank_correlation(x, y)
            found.append(Overlap((a, b), important, shared, chance, rho))
    return found


def importance(effects: Sequence[LayerEffect]) -> dict[int, float]:
    """Return by layer whether it is among the most important ones: 1 if so, 0 if not.

    Of the layers that tie for the last places, each counts in part.
    """
    known = [each for each in effects if each.effect is not None]
    if not known:
        return {}
    weights = _weights(np.array([each.effect for each in known], dtype=float))
    return {each.layer: float(weight) for each, weight in zip(known, weights, strict=True)}


def _number(layers: int) -> int:
    return max(1, layers // PART)


def _weights(effects: Array) -> Array:
    """Return for each effect how much of it is among the largest, shape (layers,)."""
    effects = np.round(effects, 12)  # so that floating-point error does not break ties
    last = np.sort(effects)[-_number(len(effects))]
    above, tied = effects > last, effects == last
    places = _number(len(effects)) - above.sum()
    weights: Array = above + tied * (places / tied.sum())
    return weights


def rank_correlation(x: Array, y: Array) -> float | None:
    """Return Spearman's rank correlation, with mean ranks for ties.

    None if there are fewer than two values, or if all values of one are equal.
    """
    if len(x) < 2:
        return None
    ranks = np.array([_ranks(x), _ranks(y)])
    if (np.ptp(ranks, axis=1) == 0).any():
        return None
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(values: Array) -> Array:
    values = np.round(values, 12)
    below = (values[:, None] > values).sum(axis=1)
    equal = (values[:, None] == values).sum(axis=1)
    ranks: Array = below + (equal + 1) / 2
    return ranks
