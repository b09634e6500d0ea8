"""How far the choice moves, and how well it can be predicted."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ..comparing import GOLD, boundaries, difference, resampled_best, sign_of
from ..cuts import PREDICTIONS, boundary, predictions
from ..study import Seed, Study
from ..text import NOT_SUPPORTED, NOTHING, OPEN, SUPPORTED, Finding, change, each

_STABLE = 3  # layers: a choice that moves by more is not one


def stability(study: Study) -> Finding:
    """How far does the best boundary move between validation documents and training seeds?"""
    rows, widths = [], []
    for data, seeds in study.having("choose"):
        for name, metric, task in (
            ("first metric", data.metrics[0], data.task),
            ("log-likelihood", GOLD, data.gold_task),
        ):
            bests, draws = [], []
            for seed in seeds:
                scored = seed.task("choose", task)
                bests.append(seed.best(task))
                draws += resampled_best(scored, metric, seed.layers)
            low, middle, high = np.percentile(draws, [5, 50, 95]).astype(int).tolist()
            most, count = Counter(draws).most_common(1)[0]
            again = f"{most} ({100 * count / len(draws):.0f} %)"
            rows.append([data.title, name, each(bests), f"{low} to {high}", str(middle), again])
            if name == "first metric":
                widths.append(high - low)
    stable = sum(width <= _STABLE for width in widths)
    answer = (
        f"On {stable} of {len(widths)} data sets, the best boundary stays within {_STABLE} layers."
        if widths
        else NOTHING
    )
    return Finding(
        "How far does the chosen boundary move?",
        (),
        [
            "The best boundary of each seed, and of 1,000 samples of the validation documents for "
            "each seed, drawn with replacement: where 90 % of them lie.",
        ],
        ("data", "chosen by", "best of each seed", "90 % of samples", "median", "most often"),
        rows,
        answer,
    )


def prediction(study: Study) -> Finding:
    """How well do the trace, the gradient and the rule of thumb predict the best boundary?"""
    rows, verdicts = [], []
    for data, seeds in study.having("choose", "trace", "test"):
        best = [seed.best() for seed in seeds]
        tests = [seed.task("test") for seed in seeds]
        golds = [seed.task("test", data.gold_task) for seed in seeds]
        named = [predictions(seed.steps["choose"], data, seed.steps["trace"]) for seed in seeds]
        for method in PREDICTIONS:
            if not all(method in found for found in named):
                rows.append([data.title, method, "none", "", "", ""])
                continue
            cuts = [
                boundary(found[method], seed.layers)
                for found, seed in zip(named, seeds, strict=True)
            ]
            regret = difference(tests, data.metrics[0], best, cuts)
            likelihood = difference(golds, GOLD, best, cuts)
            ranks = {_rank(seed, cut) for seed, cut in zip(seeds, cuts, strict=True)}
            rank = ", ".join(sorted(ranks))
            rows.append([data.title, method, each(cuts), rank, change(regret), change(likelihood)])
            if method == "trace":
                small = SUPPORTED if regret.high < data.scale else OPEN
                verdicts.append((data.title, NOT_SUPPORTED if regret.low > 0 else small))
    return Finding(
        "How well is the best boundary predicted without scoring any?",
        verdicts,
        [
            "What each prediction loses on the test documents against the boundary that was best "
            "on the validation documents. The verdict is on the trace, the paper's method: "
            "supported if a loss that matters is outside the interval, not supported if a loss is "
            "shown. The rank is among all boundaries on the validation documents, by the first "
            "metric.",
        ],
        (
            *("data", "prediction", "layers kept", "rank"),
            *("lost, first metric", "lost, log-likelihood"),
        ),
        rows,
    )


def _rank(seed: Seed, cut: str) -> str:
    """Return the place of a boundary among all, by the first metric on the validation documents."""
    task, metric = seed.task("choose"), seed.data.metrics[0]
    sign, cuts = sign_of(task, metric), task["metrics"][metric]["cuts"]
    values = {
        name: sign * float(cuts[name]["value"]) for name in boundaries(task, seed.layers).values()
    }
    return f"{1 + sum(other > values[cut] for other in values.values())} of {len(values)}"
