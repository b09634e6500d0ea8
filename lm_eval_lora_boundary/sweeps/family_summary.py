"""What ``sweep.json`` says about families other than ``upper``: rows, layer maps, controls."""

from __future__ import annotations

import logging
import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from ..cuts.families import Family
from ..cuts.keep import Cut
from ..stats.bootstrap import holm
from ..stats.layer_map import layer_effects
from ..stats.margin import Margin
from ..stats.permutation import LEVEL
from ..stats.scores import Name, Scores
from ..stats.selection import Row, describe
from ..stats.sequences import Order

logger = logging.getLogger("lm_eval.lora_boundary")

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
                    **_kept(cut, family.adapted),
                    **rows[cut.name],
                }
                for cut, layer in zip(family.cuts, layers, strict=True)
                if cut.name in rows
            ],
        }
    return found


def _kept(cut: Cut, adapted: Sequence[int]) -> dict[str, float]:
    """Return the number of layers whose LoRA is not dropped, and their mean strength."""
    strengths = [cut.strengths[layer] for layer in adapted if cut.strengths[layer] != 0]
    mean = math.fsum(strengths) / len(strengths) if strengths else 0.0
    return {"kept": len(strengths), "strength": mean}


def kept_by_boundaries(family: Family, rows: Sequence[Row]) -> list[Row]:
    """Return the rows of boundaries with the number of layers whose LoRA they keep."""
    return [
        {**row, "kept": sum(layer <= row["boundary"] for layer in family.adapted)} for row in rows
    ]


def layer_maps(families: Sequence[Family], scores: Scores, full: int) -> dict[str, Any]:
    """Return what each layer is worth, from the families ``each`` and ``only``."""
    maps = {}
    names = list(scores.cuts)
    for family in families:
        reference = {"each": full, "only": BASE}.get(family.kind)
        cuts = [cut.name for cut in family.cuts]
        if reference is None:
            continue
        if missing := {reference, *cuts} - set(names):
            logger.warning(
                "no layer map from family %s: %d of its cuts have no score (dropped by the race, "
                "or left out)",
                *(family.name, len(missing)),
            )
            continue
        effects = layer_effects(
            scores.statistic,
            scores.values,
            names.index(reference),
            [names.index(cut) for cut in cuts],
            dropped=family.kind == "each",
            higher_is_better=scores.higher_is_better,
            units=scores.units,
        )
        layers = [
            {"layer": layer, **effect} for layer, effect in zip(family.layers, effects, strict=True)
        ]
        maps[family.kind] = {"layers": layers}
    return maps


def orders(
    families: Sequence[Family], names: Container[Name], full: int, margin: Margin
) -> list[Order]:
    """Return the cuts to test for keeping the gain, a list for the boundaries and each family.

    The base model keeps no share of a gain, so that it is tested only with a margin in the unit of
    the metric. The order `map` was found on the same documents, so that it is no order for a test.

    Args:
        families: The families other than the boundaries.
        names: What was to be scored. What was dropped on the way is among them: it has no score,
            and in a nested list that ends the tests.
        full: The boundary that keeps the whole adapter.
        margin: How much a cut may lose.
    """
    ends: set[Name] = {full, BASE} if margin.is_share else {full}
    found = [Order([boundary for boundary in range(full, -2, -1) if boundary in names], True)]
    for family in families:
        cuts = family.cuts
        if family.kind == "scale":  # from the whole adapter down
            cuts = sorted(cuts, key=lambda cut: -cut.strengths[0])
            cuts = [cut for cut in cuts if 0 <= cut.strengths[0] < 1]
        nested = family.kind in ("order", "scale") and family.name != "map"
        found.append(Order([cut.name for cut in cuts], nested))
    tested = [Order([n for n in order.cuts if n not in ends], order.nested) for order in found]
    # boundaries that were scored for the sake of families are no list of their own
    others = {name for order in tested[1:] for name in order.cuts}
    if set(tested[0].cuts) <= others and families:
        tested = tested[1:]
    return [order for order in tested if order.cuts]


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
    """Compare the best cut of each family that is no boundary with the best boundary.

    Both were chosen on these documents, among about as many cuts. The p-values are for two given
    cuts, corrected for the number of families (Holm). The order ``map`` was also made from these
    documents, which its sentence says. There is nothing to compare if no boundary beats the whole
    adapter and the base.
    """
    paper = best_boundary(scores)
    if paper is None or paper in (BASE, full):
        return []
    compared: list[tuple[Family, Name, Row]] = []
    for family in families:
        ascending = sorted(family.cuts, key=lambda cut: cut.size)
        best = _best(scores, [cut.name for cut in ascending if cut.boundary is None])
        if best is not None:
            _, row = describe(scores.take([paper, best]), full=paper, base=paper)
            compared.append((family, best, row))
    tested = [row["p_value"] for *_, row in compared if row["p_value"] is not None]
    corrected = iter(holm(np.array(tested)).tolist())
    return [
        _control(
            *(family, best, paper, row),
            None if row["p_value"] is None else next(corrected),
            scores,
        )
        for family, best, row in compared
    ]


def _control(
    family: Family, name: Name, paper: int, row: Row, p_value: float | None, scores: Scores
) -> dict[str, Any]:
    values = dict(zip(scores.cuts, scores.values, strict=True))
    difference = row["delta_full"]
    gain = scores.sign * difference
    significant = p_value is not None and p_value <= 1 - LEVEL
    cut = next(cut for cut in family.cuts if cut.name == name)
    return {
        "family": family.name,
        "cut": cut.notation,
        "value": values[name],
        "difference": difference,
        "ci_low": row["ci_low"],
        "ci_high": row["ci_high"],
        "p_value": row["p_value"],
        "p_holm": p_value,
        "as_good": gain >= 0 or (p_value is not None and not significant),
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
    scores = f"{values[cut.name]:.4g}; boundary {paper}: {values[paper]:.4g}"
    p = "" if p_value is None else f"; p = {p_value:.2g}"
    if family.name == "map":
        p += "; the order was found on the same documents"
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
    dropped = sum(cut.strengths[layer] == 0 for layer in family.adapted)
    layers = "layer" if dropped == 1 else f"{dropped} layers"
    kind = family.name.partition(":")[0]
    if family.kind == "scale":
        return f"The whole adapter at {cut.strengths[0]:g}"
    if kind == "lower":
        return f"Dropping the lowest {layers} (keep={cut.notation})"
    if family.kind == "order":
        layers = "one layer" if dropped == 1 else layers
        return f"Dropping {layers} in the order {family.name} (keep={cut.notation})"
    if family.layers:
        layer = family.layers[list(family.cuts).index(cut)]
        named = "The adapter without layer" if family.kind == "each" else "The LoRA of layer"
        alone = " alone" if family.kind == "only" else ""
        return f"{named} {layer}{alone} (keep={cut.notation})"
    return f"The cut keep={cut.notation}"
