"""What the statistics of a sweep do on made-up documents whose truth is known.

    python benchmarks/simulate.py                  # all simulations, as tables
    python benchmarks/simulate.py smallest luck    # some of them
    python benchmarks/simulate.py --write          # into docs/simulations.json, docs/statistics.md

Each takes from seconds to a few minutes on one core. Scores of 33 cuts are correlated as those of
neighbouring boundaries are: 60 % of the variance of a latent normal variable belongs to the
document, and the rest is autoregressive over the cuts (0.9).
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats

from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.stats.bootstrap import Bootstrap
from lm_eval_lora_boundary.stats.halves import split_halves
from lm_eval_lora_boundary.stats.margin import Margin
from lm_eval_lora_boundary.stats.noninferiority import kept
from lm_eval_lora_boundary.stats.power import detectable, documents_to_keep, spread
from lm_eval_lora_boundary.stats.scores import Scores
from lm_eval_lora_boundary.stats.selection import select
from lm_eval_lora_boundary.stats.sequences import Order, keeping
from lm_eval_lora_boundary.stats.statistic import Means
from lm_eval_lora_boundary.stats.units import Units
from lm_eval_lora_boundary.sweeps.decision import IS_BETTER, KEEPS_GAIN, decide
from lm_eval_lora_boundary.sweeps.metric import Metric
from lm_eval_lora_boundary.sweeps.scores import Measured, TaskScores, task_scores
from lm_eval_lora_boundary.sweeps.summary import confirmed, summarise

Array = npt.NDArray[np.float64]
Row = dict[str, Any]
Generator = np.random.Generator

DOCS = Path(__file__).resolve().parent.parent / "docs"
CUTS = 33  # the base model, and the boundaries 0 to 31
WHOLE = CUTS - 1
LAYER = np.arange(-1, CUTS - 1)
TENTH = Margin(0.1, is_share=True)

# the true accuracy at the boundaries -1 to 31
CURVES: dict[str, Array] = {
    # layers 0 to 10, 11 to 20, 21 to 31: boundary 21 is as good as the whole adapter
    "blocks": np.select([LAYER < 0, LAYER < 11, LAYER < 21], [0.40, 0.55, 0.58], 0.60),
    "plateau": 0.40 + 0.20 / (1 + np.exp((12 - LAYER) / 1.5)),
    "decline": np.where(LAYER < 0, 0.40, 0.60 - 0.004 * (31 - LAYER)),
    "high": np.where(LAYER < 0, 0.05, 0.05 + 0.80 / (1 + np.exp((12 - LAYER) / 1.5))),
}


def latent(documents: int, generator: Generator, columns: int = CUTS) -> Array:
    """Return correlated normal variables, shape (documents, columns)."""
    noise = generator.normal(size=(documents, columns))
    for i in range(1, columns):
        noise[:, i] = 0.9 * noise[:, i - 1] + np.sqrt(1 - 0.81) * noise[:, i]
    common = generator.normal(size=(documents, 1))
    values: Array = np.sqrt(0.6) * common + np.sqrt(0.4) * noise
    return values


def right(rates: Array, documents: int, generator: Generator) -> Array:
    """Return answers that are right (1) or wrong (0) at these rates."""
    hidden = latent(documents, generator, len(rates))
    return (hidden < scipy.stats.norm.ppf(rates)).astype(float)


def drawn(values: Array, draws: int, units: Units | None = None) -> Bootstrap:
    """Return a bootstrap of so many draws."""
    return Bootstrap(Means(values), units=units, draws=draws)


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


def three(
    kind: str, documents: int, gain: float, disagreement: float, generator: Generator
) -> Array:
    """Return base, whole adapter, a cut that loses a tenth of the gain, and one that loses none."""
    base = generator.random(documents) < 0.1
    whole = base | (generator.random(documents) < gain / 0.9)

    def cut(loss: float) -> npt.NDArray[np.bool_]:
        chance = generator.random(documents)
        lost = chance < (loss + disagreement / 2) / (0.1 + gain)
        gained = chance < disagreement / 2 / max(0.9 - gain, 1e-9)
        return np.where(whole, ~lost, gained)

    answers = np.stack([base, whole, cut(0.1 * gain), cut(0.0)], axis=1).astype(float)
    if kind == "right or wrong":
        return answers
    if kind == "between 0 and 1":  # partly right: the same means, times the mean of the factor
        factors: Array = generator.beta(2, 3, size=(documents, 1))
        return answers * factors
    heavy: Array = generator.lognormal(0, 1, size=(documents, 1))
    return answers * heavy


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


SHAPES: dict[str, Callable[[int, Generator], tuple[Array, float]]] = {
    "normal": lambda n, g: (g.normal(size=n), 0.0),
    "exponential": lambda n, g: (g.exponential(size=n), 1.0),
    "lognormal, sigma 1": lambda n, g: (g.lognormal(0, 1, size=n), float(np.exp(0.5))),
    "lognormal, sigma 1.5": lambda n, g: (g.lognormal(0, 1.5, size=n), float(np.exp(1.125))),
    "Pareto, alpha 3": lambda n, g: (g.pareto(3, size=n), 0.5),
    "4 % of the documents lose": lambda n, g: ((g.random(n) < 0.04) * -0.8 * g.random(n), -0.016),
    "15 % of the documents lose": lambda n, g: ((g.random(n) < 0.15) * -0.8 * g.random(n), -0.06),
}


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


KINDS: dict[str, Callable[[int, Generator], tuple[Array, float]]] = {
    "right in 5 %": lambda n, g: (right(np.full(CUTS, 0.05), n, g), 0.05),
    "right in 50 %": lambda n, g: (right(np.full(CUTS, 0.5), n, g), 0.5),
    "right in 95 %": lambda n, g: (right(np.full(CUTS, 0.95), n, g), 0.95),
    "ROUGE-like": lambda n, g: (scipy.stats.norm.cdf(0.6 * latent(n, g) - 0.7), _rouge()),
    "length ratio": lambda n, g: (np.exp(latent(n, g)), float(np.exp(0.5))),
}


def _rouge() -> float:
    """Return the mean of Φ(0.6 z - 0.7) over a standard normal z."""
    return float(scipy.stats.norm.cdf(-0.7 / np.sqrt(1 + 0.36)))


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


def decided(rates: Array, documents: int, generator: Generator) -> dict[str, Any]:
    """Return what a sweep decides on two splits of right or wrong answers."""
    full = CUTS - 2
    entry = summarise(_scored(rates, documents, generator), (), full, "validation", TENTH)
    if not entry["not_chosen"]:
        entry = confirmed(entry, _scored(rates, documents, generator), full)
    return decide(entry, full)


def _scored(rates: Array, documents: int, generator: Generator) -> TaskScores:
    metric = Metric("acc", "none", higher_is_better=True, mean=True)
    task: Any = SimpleNamespace(task_name="t", aggregation=lambda: {"acc": None})
    values = right(rates, documents, generator)
    measured = [
        Measured(
            Cut.up_to(int(boundary), CUTS - 1),
            float(column.mean()),
            None,
            dict(enumerate(column.tolist())),
            {},
            str(boundary),
        )
        for boundary, column in zip(LAYER, values.T, strict=True)
    ]
    return task_scores(task, metric, measured)


# with the number of repeats
SIMULATIONS: dict[str, tuple[Callable[[int], list[Row]], int]] = {
    "smallest": (smallest, 400),
    "at_the_margin": (at_the_margin, 1000),
    "coverage_binary": (coverage_binary, 1),
    "coverage_means": (coverage_means, 1000),
    "equal_cuts": (equal_cuts, 400),
    "luck": (luck, 400),
    "stability": (stability, 400),
    "clusters": (clusters, 1000),
    "collapse": (collapse, 400),
    "power": (power, 1000),
    "rare_losses": (rare_losses, 1000),
    "decision": (decision, 200),
}


def rate(number: float, repeats: int) -> str:
    """Return a share of repeats in percent."""
    return percent(number / repeats)


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.1f} %"


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = [f"| {' | '.join(rows[0])} |", f"|{'|'.join('---' for _ in rows[0])}|"]
    lines += [f"| {' | '.join(str(value) for value in row.values())} |" for row in rows]
    return "\n".join(lines)


def filled(page: str, found: dict[str, Any]) -> str:
    """Return a page with the tables between its marks, ``<!-- simulated: NAME -->``."""
    for name, entry in found.items():
        mark, end = f"<!-- simulated: {name} -->", "<!-- end -->"
        pattern = re.compile(f"{re.escape(mark)}.*?{re.escape(end)}", re.DOTALL)
        text = f"{mark}\n{table(entry['rows'])}\n\n{entry['repeats']:,} repeats.\n{end}"
        page = pattern.sub(lambda _, text=text: text, page)  # type: ignore[misc]
    return page


def main() -> None:
    """Run simulations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SIMULATIONS))
    parser.add_argument("--repeats", type=int, help="instead of each simulation's own number")
    parser.add_argument("--write", action="store_true", help="write the results into docs/")
    options = parser.parse_args()
    path = DOCS / "simulations.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for name in options.names or SIMULATIONS:
        simulate, repeats = SIMULATIONS[name]
        repeats = options.repeats or repeats
        rows = simulate(repeats)
        print(f"{name}, {repeats} repeats\n{table(rows)}\n", flush=True)
        found[name] = {"repeats": repeats, "rows": rows}
        if options.write:
            path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
            page = DOCS / "statistics.md"
            page.write_text(filled(page.read_text("utf-8"), found), "utf-8")


if __name__ == "__main__":
    main()
