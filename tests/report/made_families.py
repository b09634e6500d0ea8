"""Families of cuts and layer maps for made-up sweeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from made_sweeps import decided, statistics

Strengths = Sequence[float]


def notation(strengths: Strengths) -> str:
    """Return a cut as a sweep writes it."""
    parts, last = [], len(strengths) - 1
    for strength, group in groupby(range(last + 1), key=strengths.__getitem__):
        layers = list(group)
        name = f"{layers[0]}-{layers[-1]}" if len(layers) > 1 else str(layers[0])
        name = "all" if len(layers) == last + 1 else name
        if strength:
            parts.append(name if strength == 1 else f"{name}@{strength:g}")
    return "+".join(parts) or "none"


def boundary(strengths: Strengths) -> int | None:
    kept = sum(each != 0 for each in strengths)
    return kept - 1 if list(strengths) == [1.0] * kept + [0.0] * (len(strengths) - kept) else None


def order(layers: int, dropped: Sequence[int]) -> list[list[float]]:
    """Return the cuts from the whole adapter to the base, which drop layers in this order."""
    cuts = [[1.0] * layers]
    for layer in dropped:
        cuts.append([*cuts[-1]])
        cuts[-1][layer] = 0.0
    return cuts


def single(layers: int, layer: int, *, kept: bool) -> list[float]:
    return [float((i == layer) == kept) for i in range(layers)]


def made_families(layers: int, seed: int) -> dict[str, tuple[str, list[list[float]]]]:
    """Return kind and cuts of one family of each kind."""
    shuffled = np.random.default_rng(seed).permutation(layers).tolist()
    return {
        "lower": ("order", order(layers, range(layers))),
        "random": ("order", order(layers, shuffled)),
        "map": ("order", order(layers, sorted(range(layers), key=lambda i: (i * 7) % layers))),
        "scale": ("scale", [[s / 10] * layers for s in (2, 4, 6, 7, 8, 9, 10, 12)]),
        "each": ("each", [single(layers, i, kept=False) for i in range(layers)]),
        "only": ("only", [single(layers, i, kept=True) for i in range(layers)]),
        "file:cuts.txt": ("list", [single(layers, 0, kept=False), ([1.0, 0.5] * layers)[:layers]]),
    }


def add_families(
    task: dict[str, Any],
    layers: int,
    *,
    documents: int = 150,
    seed: int = 0,
    names: Sequence[str] | None = None,
    worth: Callable[[int], float] | None = None,
) -> dict[str, Any]:
    """Add families, layer maps and controls to a task's entry in ``sweep.json``, and return it.

    Args:
        documents: How many documents all cuts are scored on, boundaries too.
        worth: How much of the metric the LoRA of a layer is worth.
    """
    worth = worth or (lambda i: 0.09 * np.exp(-(((i - 0.35 * layers) / (0.12 * layers)) ** 2)))
    source = np.random.default_rng(seed)
    skill = source.random(documents)[:, None]
    found = {
        name: each
        for name, each in made_families(layers, seed).items()
        if names is None or name in names
    }
    cuts = order(layers, range(layers)[::-1])[::-1]  # the boundaries, ascending
    upper, full = len(cuts), layers - 1
    cuts += [cut for _, each in found.values() for cut in each]
    weights = np.array([worth(i) for i in range(layers)])
    heights = np.array([0.2 + 0.5 * np.tanh(2 * float(weights @ cut)) for cut in cuts])
    noise = 0.12 * source.normal(size=(documents, len(cuts)))
    values = (0.6 * skill + 0.2 + noise < heights).astype(float)
    rows = statistics(values, list(range(-1, len(cuts) - 1)), full)
    for row, old in zip(rows, task["boundaries"], strict=False):
        old |= {key: value for key, value in row.items() if key != "metrics"}
        old["metrics"] = old["metrics"] | {task["metric"]: old["value"]}
    best = max(task["boundaries"], key=lambda row: row["value"])["boundary"]
    task |= {"best": best, "collapse": None, "documents": documents}
    task |= decided(task, full)
    for row, cut in zip(rows, cuts, strict=True):
        kept = [each for each in cut if each]
        row |= {"boundary": boundary(cut), "cut": notation(cut), "kept": len(kept)}
        row["strength"] = float(np.mean(kept)) if kept else 0.0
        row["metrics"] = {task["metric"]: row["value"]}
    position = upper
    task["families"] = {}
    for name, (kind, each) in found.items():
        mine = [dict(row) for row in rows[position : position + len(each)]]
        if kind in ("each", "only"):
            for layer, row in enumerate(mine):
                row["layer"] = layer
            reference = values[:, [upper - 1]] if kind == "each" else values[:, [0]]
            part = values[:, position : position + len(each)]
            difference = reference - part if kind == "each" else part - reference
            task.setdefault("layer_map", {})[kind] = {"layers": effects(difference)}
        task["families"][name] = {"kind": kind, "cuts": mine}
        position += len(each)
    highest = rows[best + 1]["value"]
    task["controls"] = [
        {
            "family": name,
            "cut": best["cut"],
            "value": best["value"],
            "difference": best["value"] - highest,
            "ci_low": -0.02,
            "ci_high": 0.03,
            "p_value": 0.4,
            "as_good": name in ("scale", "random"),
            "sentence": f"the best cut of the family {name} ({best['cut'][:30]}) scores "
            f"{best['value']:.3f}, " + ("as well" if name in ("scale", "random") else "worse"),
        }
        for name, family in task["families"].items()
        for best in [max(family["cuts"], key=lambda row: row["value"])]
    ]
    return task


def effects(difference: np.ndarray) -> list[dict[str, Any]]:
    """Return a layer map of differences with shape (documents, layers)."""
    stderr = difference.std(axis=0, ddof=1) / len(difference) ** 0.5
    return [
        {
            "layer": layer,
            "effect": float(mean),
            "ci_low": float(mean - 3 * half),
            "ci_high": float(mean + 3 * half),
            "p_value": 0.001 if abs(mean) > 3 * half else 0.5,
        }
        for layer, (mean, half) in enumerate(zip(difference.mean(axis=0), stderr, strict=True))
    ]


def make_best(task: dict[str, Any], name: str) -> dict[str, Any]:
    """Let the best cut of a family be the best and the choice of the task, and return its row."""
    best = max(task["families"][name]["cuts"], key=lambda row: row["value"])
    called = best["boundary"] if best["boundary"] is not None else best["cut"]
    task |= {"best": called, "choice": called, "choice_basis": "better than the whole adapter"}
    found: dict[str, Any] = best
    return found
