"""What ``sweep.json`` says about families other than ``upper``: rows, layer maps, controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..cuts.families import Family
from ..cuts.keep import Cut
from ..stats.layer_map import layer_effects
from ..stats.permutation import LEVEL
from ..stats.selection import Name, Row, Scores, describe

BASE = -1


def family_rows(families: Sequence[Family], rows: Mapping[Name, Row]) -> dict[str, Any]:
    """Return the cuts of each family with their statistics, in the order of the family.

    Cuts that a race dropped have no row and are left out.
    """
    found = {}
    for family in families:
        layers: Sequence[int | None] = family.layers or [None] * len(family.cuts)
        found[family.name] = {
            "kind": family.kind,
            "cuts": [
                {
                    "cut": cut.notation,
                    "boundary": cut.boundary,
                    **({} if layer is None else {"layer": layer}),
                    **_kept(cut),
                    **rows[cut.name],
                }
                for cut, layer in zip(family.cuts, layers, strict=True)
                if cut.name in rows
            ],
        }
    return found


def _kept(cut: Cut) -> dict[str, float]:
    """Return the number of layers with a strength other than 0, and their mean strength."""
    strengths = [strength for strength in cut.strengths if strength != 0]
    mean = math.fsum(strengths) / len(strengths) if strengths else 0.0
    return {"kept": len(strengths), "strength": mean}


def layer_maps(families: Sequence[Family], scores: Scores, full: int) -> dict[str, Any]:
    """Return what each layer is worth, from the families ``each`` and ``only``."""
    maps = {}
    names = list(scores.cuts)
    for family in families:
        reference = {"each": full, "only": BASE}.get(family.kind)
        cuts = [cut.name for cut in family.cuts]
        if reference is None or not {reference, *cuts} <= set(names):
            continue
        effects = layer_effects(
            scores.statistic,
            scores.values,
            names.index(reference),
            [names.index(cut) for cut in cuts],
            dropped=family.kind == "each",
            higher_is_better=scores.higher_is_better,
        )
        layers = [
            {"layer": layer, **effect} for layer, effect in zip(family.layers, effects, strict=True)
        ]
        maps[family.kind] = {"layers": layers}
    return maps


def best_boundary(scores: Scores) -> int | None:
    """Return the best of the boundaries, the smallest in a tie; None if none has a value."""
    found = _best(scores, [name for name in scores.cuts if isinstance(name, int)])
    return found if isinstance(found, int) else None


def _best(scores: Scores, names: Sequence[Name]) -> Name | None:
    """Return the name with the best value, the first in a tie."""
    values = dict(zip(scores.cuts, scores.values, strict=True))
    finite = [name for name in names if math.isfinite(values.get(name, math.nan))]
    return max(finite, key=lambda name: scores.sign * values[name], default=None)


def controls(families: Sequence[Family], scores: Scores, full: int) -> list[dict[str, Any]]:
    """Compare the best cut of each family with the best boundary.

    Every family was searched as ``upper`` was, so none has the advantage of more choice but by the
    number of its cuts. There is nothing to compare if no boundary beats the whole adapter and the
    base, or if the best cut of a family is a boundary itself.
    """
    paper = best_boundary(scores)
    if paper is None or paper in (BASE, full):
        return []
    found = []
    for family in families:
        best = _best(scores, [cut.name for cut in family.cuts])
        if best is None or isinstance(best, int):
            continue
        _, row = describe(scores.take([paper, best]), full=paper, base=paper)
        found.append(_control(family, best, paper, row, scores))
    return found


def _control(family: Family, name: Name, paper: int, row: Row, scores: Scores) -> dict[str, Any]:
    values = dict(zip(scores.cuts, scores.values, strict=True))
    difference, p_value = row["delta_full"], row["p_value"]
    gain = scores.sign * difference
    significant = p_value is not None and p_value <= 1 - LEVEL
    as_good = gain >= 0 or (p_value is not None and not significant)
    cut = next(cut for cut in family.cuts if cut.name == name)
    return {
        "family": family.name,
        "cut": cut.notation,
        "value": values[name],
        "difference": difference,
        "ci_low": row["ci_low"],
        "ci_high": row["ci_high"],
        "p_value": p_value,
        "as_good": as_good,
        "sentence": _sentence(family, cut, paper, values, gain, significant, p_value),
    }


def _sentence(
    family: Family,
    cut: Cut,
    paper: int,
    values: Mapping[Name, float],
    gain: float,
    significant: bool,
    p_value: float | None,
) -> str:
    """Say how a control compares with the best boundary."""
    control = described(family, cut)
    scores = f"{values[cut.name]:.4g}, boundary {paper} {values[paper]:.4g}"
    p = "" if p_value is None else f", p = {p_value:.2g}"
    if gain >= 0:
        than = "better than" if significant else "as well as"
        return f"{control} scores {than} the best boundary ({scores}{p})."
    if significant:
        return f"{control} scores worse than the best boundary ({scores}{p})."
    if p_value is None:
        return f"{control} scores {scores}; whether that is chance cannot be tested here."
    return f"{control} is not shown to score worse than the best boundary ({scores}{p})."


def described(family: Family, cut: Cut) -> str:
    """Return a cut in words, at the beginning of a sentence."""
    dropped = sum(strength == 0 for strength in cut.strengths)
    layers = f"{dropped} layer{'' if dropped == 1 else 's'}"
    kind = family.name.partition(":")[0]
    if family.kind == "scale":
        return f"The whole adapter at {cut.strengths[0]:g}"
    if kind == "lower":
        return f"Dropping the lowest {layers} (keep={cut.notation})"
    if family.kind == "order":
        return f"Dropping {layers} in the order {family.name} (keep={cut.notation})"
    return f"keep={cut.notation} ({family.name})"
