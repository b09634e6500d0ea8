"""Simulations of choosing a cut, and of what is said about the one that was chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from made_up import (
    CURVES,
    CUTS,
    KINDS,
    LAYER,
    TENTH,
    WHOLE,
    decided,
    drawn,
    percent,
    rate,
    right,
    three,
)

from lm_eval_lora_boundary.stats.halves import split_halves
from lm_eval_lora_boundary.stats.margin import Margin
from lm_eval_lora_boundary.stats.noninferiority import kept
from lm_eval_lora_boundary.stats.sequences import Order, keeping
from lm_eval_lora_boundary.stats.statistic import Means
from lm_eval_lora_boundary.stats.units import Units
from lm_eval_lora_boundary.sweeps.decision import IS_BETTER, KEEPS_GAIN

Row = dict[str, Any]


def smallest(repeats: int) -> list[Row]:
    """Return how often the smallest cut shown to keep the gain truly loses the margin or more."""
    rows = []
    for margin in (TENTH, Margin(0.05, is_share=False)):
        for curve, rates in CURVES.items():
            gain = rates[WHOLE] - rates[0]
            allowed = margin.value * gain if margin.is_share else margin.value
            for documents in (24, 50, 200, 800):
                generator = np.random.default_rng(documents)
                wrong, named = 0, []
                for _ in range(repeats):
                    values = right(rates, documents, generator)
                    order = Order(list(range(WHOLE - 1, 0, -1)), nested=True)
                    found = kept(
                        drawn(values, 1000), WHOLE, 0, order.cuts, margin, higher_is_better=True
                    )
                    p_values = dict(zip(order.cuts, found.p_value.tolist(), strict=True))
                    names = sorted(p_values)
                    shown = keeping(names, [p_values[name] for name in names], [order]).cuts
                    if shown:
                        named.append(int(shown[0]) - 1)
                        wrong += bool(rates[WHOLE] - rates[int(shown[0])] >= allowed - 1e-12)
                rows.append(
                    {
                        "truth": curve,
                        "gain": f"{gain:.2f}",
                        "margin": str(margin),
                        "documents": documents,
                        "truly loses it": rate(wrong, repeats),
                        "one is named": rate(len(named), repeats),
                        "mean boundary named": f"{np.mean(named):.1f}" if named else "–",
                    }
                )
    return rows


def at_the_margin(repeats: int) -> list[Row]:
    """Return how often a cut is said to keep the gain that loses just the margin, or nothing."""
    rows = []
    for kind in ("right or wrong", "between 0 and 1", "skewed, no bounds"):
        for gain, disagreement in ((0.4, 0.0), (0.4, 0.1), (0.8, 0.05)):
            for documents in (24, 50, 200, 800):
                generator = np.random.default_rng(documents)
                shown = np.zeros(2)
                for _ in range(repeats):
                    values = three(kind, documents, gain, disagreement, generator)
                    found = kept(drawn(values, 500), 1, 0, [2, 3], TENTH, higher_is_better=True)
                    shown += found.p_value <= 0.05
                rows.append(
                    {
                        "values": kind,
                        "gain": gain,
                        "disagreement": disagreement,
                        "documents": documents,
                        "loses the margin": rate(shown[0], repeats),
                        "loses nothing": rate(shown[1], repeats),
                    }
                )
    return rows


def rare_losses(repeats: int) -> list[Row]:
    """Return how often a cut that loses all on rare documents is said to keep the gain."""
    rows = []
    for what, bound in (("between 0 and 1", True), ("no bounds", False)):
        for documents in (24, 50, 200, 800):
            generator = np.random.default_rng(documents)
            shown = 0
            for _ in range(repeats):
                # a gain of 0.4; the cut equals the whole adapter but for rare losses of 0.04 in all
                base = generator.normal(0, 0.01, size=documents) + 0.3
                whole = base + 0.4
                size = 0.7 if bound else 10.0
                lost = generator.random(documents) < 0.04 / size
                values = np.stack([base, whole, whole - size * lost], axis=1)
                found = kept(drawn(values, 500), 1, 0, [2], TENTH, higher_is_better=True)
                shown += bool(found.p_value[0] <= 0.05)
            rows.append(
                {
                    "values": what,
                    "documents that lose": percent(0.04 / size),
                    "documents": documents,
                    "said to keep the gain": rate(shown, repeats),
                }
            )
    return rows


def luck(repeats: int) -> list[Row]:
    """Return how much the best of 33 equally good cuts is inflated, and how much is said."""
    rows = []
    for kind, make in KINDS.items():
        for documents in (20, 50, 200):
            generator = np.random.default_rng(documents)
            true, said = [], []
            for _ in range(repeats):
                values, truth = make(documents, generator)
                found = split_halves(Means(values), Units(documents))
                assert found is not None
                true.append(float(values.mean(axis=0).max()) - truth)
                said.append(found.optimism)
            bias = np.mean(said) / np.mean(true) - 1
            rows.append(
                {
                    "values": kind,
                    "documents": documents,
                    "inflated by": f"{np.mean(true):.4f}",
                    "said": f"{np.mean(said):.4f}",
                    "bias": f"{100 * bias:+.0f} %".replace("-", "−"),
                }
            )
    return rows


def stability(repeats: int) -> list[Row]:
    """Return how often the best cut is said to be the best again, and how often it is."""
    rows = []
    curves = {"all equal, 0.5": np.full(CUTS, 0.5), **{c: CURVES[c] for c in ("blocks", "high")}}
    for curve, rates in curves.items():
        for documents in (50, 200):
            generator = np.random.default_rng(documents)
            said, fresh = [], []
            for _ in range(repeats):
                values = right(rates, documents, generator)
                found = split_halves(Means(values), Units(documents))
                assert found is not None
                best = int(np.round(values.mean(axis=0), 12).argmax())
                said.append(float(found.selected[best]))
                others = np.round(right(rates, documents // 2, generator).mean(axis=0), 12)
                top = others == others.max()
                fresh.append(float(top[best] / top.sum()))
            rows.append(
                {
                    "truth": curve,
                    "documents": documents,
                    "said": percent(float(np.mean(said))),
                    "on half as many fresh documents": percent(float(np.mean(fresh))),
                }
            )
    return rows


def decision(repeats: int) -> list[Row]:
    """Return how often a cut is recommended, and how often wrongly, with a split for the test."""
    rows = []
    peak = np.where(LAYER == 20, 0.72, CURVES["plateau"])
    for curve, rates in {"peak": peak, **CURVES}.items():
        gain = rates[WHOLE] - rates[0]
        for documents in (50, 200, 800):
            generator = np.random.default_rng(documents)
            said = {IS_BETTER: 0, KEEPS_GAIN: 0}
            wrong = {IS_BETTER: 0, KEEPS_GAIN: 0}
            for _ in range(repeats):
                entry = decided(rates, documents, generator)
                basis = entry["choice_basis"]
                if basis in said:
                    said[basis] += 1
                    loss = rates[WHOLE] - rates[entry["choice"] + 1]
                    wrong[basis] += bool(loss >= (0 if basis == IS_BETTER else 0.1 * gain) - 1e-12)
            rows.append(
                {
                    "truth": curve,
                    "documents, twice": documents,
                    "better, said": rate(said[IS_BETTER], repeats),
                    "better, wrongly": rate(wrong[IS_BETTER], repeats),
                    "keeps the gain, said": rate(said[KEEPS_GAIN], repeats),
                    "keeps the gain, wrongly": rate(wrong[KEEPS_GAIN], repeats),
                }
            )
    return rows
