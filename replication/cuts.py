"""Which cuts are tested: what was chosen, what was predicted, and others of the same size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .metrics import sign_of
from .plan import Data

RULE_OF_THUMB = (1 / 2, 2 / 3)  # of the depth; the paper's
STRENGTHS = (0.5, 0.7, 0.85)  # of the whole adapter
NONE, WHOLE = "none", "all"


def boundary(number: int, layers: int) -> str:
    """Return a boundary as a cut, named as in the records."""
    if number < 0:
        return NONE
    return WHOLE if number >= layers - 1 else (f"0-{number}" if number else "0")


def at_share(share: float, layers: int) -> int:
    """Return the boundary that keeps this share of the layers, rounded to a whole layer."""
    return round(layers * share) - 1


def two_thirds(layers: int) -> str:
    """Return the boundary at two thirds of the layers, as a cut."""
    return boundary(at_share(RULE_OF_THUMB[-1], layers), layers)


def name_of(cut: str | int, layers: int) -> str:
    """Return the name of a cut in the records: boundaries, too, are cuts there."""
    return boundary(cut, layers) if isinstance(cut, int) else cut


def best_boundary(chosen: Mapping[str, Any], task: str) -> int:
    """Return the boundary that scored highest on the validation split.

    That is the whole adapter unless another one is better; the smallest of equally good ones.
    """
    layers, scored = int(chosen["layers"]), chosen["tasks"][task]
    best = scored["decision"]["best_boundary"]
    if best is None:
        return layers - 1
    entry = scored["metrics"][scored["metric"]]
    value, whole = (entry["cuts"][cut]["value"] for cut in (boundary(best, layers), WHOLE))
    better = sign_of(scored, scored["metric"]) * (value - whole) > 0
    return int(best) if better else layers - 1


def sizes(chosen: Mapping[str, Any], data: Data) -> list[int]:
    """Return how many layers the compared cuts keep: as many as the best boundary; two thirds.

    If the best boundary is the whole adapter or the base model, two thirds of the layers stand
    alone.
    """
    layers, best = int(chosen["layers"]), best_boundary(chosen, data.task)
    thirds = at_share(RULE_OF_THUMB[-1], layers) + 1
    return list(dict.fromkeys((best + 1, thirds))) if 0 <= best < layers - 1 else [thirds]


PREDICTIONS = (
    *("trace", "gradient map", "gradient curve"),
    *("half of the layers", "two thirds of the layers"),
)


def predictions(chosen: Mapping[str, Any], data: Data, trace: Mapping[str, Any]) -> dict[str, int]:
    """Return the boundaries that are predicted without scoring any cut, by method."""
    layers = int(chosen["layers"])
    traced = trace["tasks"][data.task]
    found = (
        traced["candidate"],
        traced["gradient"]["suggested"],
        traced["gradient"]["suggested_by_curve"],
        *(at_share(share, layers) for share in RULE_OF_THUMB),
    )
    named = zip(PREDICTIONS, found, strict=True)
    return {name: int(number) for name, number in named if number is not None}


def of_size(order: Sequence[str], kept: int) -> str:
    """Return the cut of an order that keeps so many layers; the order starts with the whole."""
    return order[len(order) - 1 - kept]


def cuts_to_test(
    chosen: Mapping[str, Any],
    data: Data,
    orders: Mapping[str, Sequence[str]],
    trace: Mapping[str, Any],
) -> list[str]:
    """Return the cuts to score on the test split, each once.

    Args:
        chosen: The record of the validation split.
        data: The data set.
        orders: The cuts of every other family, from the whole adapter down to the base.
        trace: The record of the trace.
    """
    layers = int(chosen["layers"])
    cuts = [NONE, WHOLE]
    for task in (data.task, data.gold_task):
        decision = chosen["tasks"][task]["decision"]
        found = (decision["best_boundary"], decision["smallest_noninferior"])
        cuts += [name_of(cut, layers) for cut in found if cut is not None]
    predicted = predictions(chosen, data, trace).values()
    cuts += [boundary(number, layers) for number in predicted]
    for kept in sizes(chosen, data):
        cuts.append(boundary(kept - 1, layers))
        cuts += [of_size(order, kept) for order in orders.values()]
    cuts += [f"all@{strength}" for strength in STRENGTHS]
    return list(dict.fromkeys(cuts))
