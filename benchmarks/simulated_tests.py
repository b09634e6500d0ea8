"""Simulations of intervals and tests, and of how many documents they need."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats
from made_up import (
    CURVES,
    CUTS,
    KINDS,
    LAYER,
    SHAPES,
    TENTH,
    WHOLE,
    drawn,
    percent,
    rate,
    right,
    three,
)

from lm_eval_lora_boundary.stats.noninferiority import kept
from lm_eval_lora_boundary.stats.power import detectable, documents_to_keep, spread
from lm_eval_lora_boundary.stats.scores import Scores
from lm_eval_lora_boundary.stats.selection import select
from lm_eval_lora_boundary.stats.statistic import Means
from lm_eval_lora_boundary.stats.units import Units

Row = dict[str, Any]


def coverage_binary(repeats: int) -> list[Row]:
    """Return the exact coverage of 95 % intervals of differences of right or wrong answers."""
    del repeats  # computed exactly
    shares = [*np.arange(0.0, 0.05, 0.01), 0.07, 0.1, 0.15, 0.2, 0.3]
    rows = []
    for documents in (20, 31, 50, 100):
        counts = [(g, x) for g in range(documents + 1) for x in range(documents + 1 - g)]
        low, high = np.array([_ends(documents, g, x) for g, x in counts]).T
        gained, lost = np.array(counts).T
        found = {}
        for gain in shares:
            for loss in shares:
                if gain + loss == 0:
                    continue
                chance = scipy.stats.multinomial.pmf(
                    np.stack([gained, lost, documents - gained - lost], axis=1),
                    documents,
                    [gain, loss, 1 - gain - loss],
                )
                inside = (low <= gain - loss + 1e-12) & (gain - loss - 1e-12 <= high)
                found[gain, loss] = float(chance[inside].sum())
        worst = min(found, key=lambda pair: found[pair])
        rows.append(
            {
                "documents": documents,
                "lowest": percent(found[worst]),
                "at P(gained), P(lost)": f"{worst[0]:.2f}, {worst[1]:.2f}",
                "median": percent(float(np.median(list(found.values())))),
            }
        )
    return rows


def _ends(documents: int, gained: int, lost: int) -> tuple[float, float]:
    values = np.zeros((documents, 2))
    values[:gained, 0] = values[gained : gained + lost, 1] = 1
    found = drawn(values, 2).difference(1)
    return float(found.low[0]), float(found.high[0])


def coverage_means(repeats: int) -> list[Row]:
    """Return how often 95 % intervals of the mean of paired differences hold the truth."""
    rows: list[Row] = []
    for shape, draw in SHAPES.items():
        row: Row = {"differences": shape}
        for documents in (10, 20, 50, 100, 200):
            generator = np.random.default_rng(documents)
            covered = 0
            for _ in range(repeats):
                differences, truth = draw(documents, generator)
                values = np.stack([differences, np.zeros(documents)], axis=1)
                if differences.min() > -1 and "lose" in shape:
                    values = values + 0.8  # scores between 0 and 1
                found = drawn(values, 600).difference(1)
                covered += bool(found.low[0] <= truth <= found.high[0])
            row[f"{documents} documents"] = rate(covered, repeats)
        rows.append(row)
    return rows


def equal_cuts(repeats: int) -> list[Row]:
    """Return how often some of 33 equally good cuts is said to differ from the whole adapter."""
    rows = []
    for kind, make in KINDS.items():
        row: Row = {"values": kind}
        for documents in (20, 50, 200):
            generator = np.random.default_rng(documents)
            said = 0
            for _ in range(repeats):
                values, _ = make(documents, generator)
                said += bool(drawn(values, 500).difference(WHOLE).p_simultaneous.min() <= 0.05)
            row[f"{documents} documents"] = rate(said, repeats)
        rows.append(row)
    return rows


def clusters(repeats: int) -> list[Row]:
    """Return how often equal means are told apart if documents come in tens."""
    rows = []
    for correlation in (0.0, 0.02, 0.05, 0.1, 0.2):
        for documents in (50, 200, 1000):
            generator = np.random.default_rng(documents)
            of = np.repeat(np.arange(documents // 10), 10)
            rejected = np.zeros(2)
            for _ in range(repeats):
                common = generator.normal(size=documents // 10)[of] * np.sqrt(correlation)
                own = generator.normal(size=documents) * np.sqrt(1 - correlation)
                values = np.stack([common + own, np.zeros(documents)], axis=1)
                for i, units in enumerate((None, Units(documents, of.tolist()))):
                    found = drawn(values, 400, units).difference(1)
                    rejected[i] += found.p_value[0] <= 0.05
            rows.append(
                {
                    "correlation": correlation,
                    "segments": documents,
                    "drawn by segment": rate(rejected[0], repeats),
                    "drawn by document": rate(rejected[1], repeats),
                }
            )
    return rows


def collapse(repeats: int) -> list[Row]:
    """Return up to which boundary cuts are shown to be worse, and how often one that is not is."""
    rows = []
    for curve in ("plateau", "high"):
        rates = CURVES[curve]
        for documents in (24, 50, 200):
            generator = np.random.default_rng(documents)
            reached, wrong = [], 0
            for _ in range(repeats):
                values = right(rates, documents, generator)
                scores = Scores(
                    LAYER.tolist(),
                    values.mean(axis=0).tolist(),
                    Means(values),
                    higher_is_better=True,
                )
                found = select(scores, CUTS - 2).collapse
                last = -1 if found is None else found
                reached.append(last)
                wrong += bool(rates[WHOLE] - rates[last + 1] < 0.005)
            rows.append(
                {
                    "truth": curve,
                    "truly worse by 0.10 up to": int(LAYER[rates[WHOLE] - rates >= 0.1].max()),
                    "documents": documents,
                    "said up to, on average": f"{np.mean(reached):.1f}",
                    "as good, but said to be worse": rate(wrong, repeats),
                }
            )
    return rows


def power(repeats: int) -> list[Row]:
    """Return how often what should be seen 4 times in 5 is seen."""
    rows: list[Row] = []
    for documents, disagreement in ((50, 0.2), (200, 0.1), (200, 0.2)):
        difference = detectable(documents, spread(disagreement))
        generator = np.random.default_rng(documents)
        seen = 0
        for _ in range(repeats):
            chance = generator.random(documents)
            gained = chance < (disagreement + difference) / 2
            lost = ~gained & (chance < disagreement)
            values = np.stack([gained, lost], axis=1).astype(float)
            seen += bool(drawn(values, 2).difference(1).p_value[0] <= 0.05)
        what = f"a difference of {difference:.3f} at a disagreement of {disagreement:g}"
        rows.append({"what": what, "documents": documents, "seen": rate(seen, repeats)})
    for gain, disagreement in ((0.4, 0.0), (0.4, 0.05), (0.4, 0.1), (0.8, 0.05), (0.8, 0.1)):
        variance = disagreement + 0.01 * gain * (1 - gain)
        documents = documents_to_keep(0.1 * gain, variance**0.5)
        generator = np.random.default_rng(documents)
        seen = 0
        for _ in range(repeats):
            values = three("right or wrong", documents, gain, disagreement, generator)
            found = kept(drawn(values, 500), 1, 0, [3], TENTH, higher_is_better=True)
            seen += bool(found.p_value[0] <= 0.05)
        what = f"90 % of a gain of {gain:g} kept, at a disagreement of {disagreement:g}"
        rows.append({"what": what, "documents": documents, "seen": rate(seen, repeats)})
    return rows
