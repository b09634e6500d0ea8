"""How far the choice moves, and how well it can be predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lm_eval_lora_boundary.report.formatting import integer

from ..comparing import Value, difference, resampled_best
from ..cuts import PREDICTIONS, WHOLE, boundary, predictions
from ..metrics import GOLD
from ..plan import Data
from ..study import Seed, Study
from ..text import EQUAL, NOT_SUPPORTED, NOTHING, OPEN, SUPPORTED, Finding, change, each, listed

_NONE_NAMED = "the trace names no boundary"
_BOTH_WHOLE = "the trace names the whole adapter, which was best"


def stability(study: Study) -> Finding:
    """How far does the best boundary move between validation documents and training seeds?"""
    rows: list[list[str]] = []
    ranges: list[str] = []
    equal: list[str] = []
    last = 0
    for data, seeds in study.having("choose"):
        for name, metric, task in (
            ("first metric", data.metrics[0], data.task),
            ("log-likelihood", GOLD, data.gold_task),
        ):
            if all(seed.all_equal(task) for seed in seeds):
                rows.append([data.title, name, "all boundaries score the same", "", "", ""])
                if name == "first metric":
                    equal.append(data.title)
                continue
            bests, draws = [], []
            for seed in seeds:
                scored = seed.task("choose", task)
                bests.append(seed.best(task))
                draws += resampled_best(scored, metric, seed.layers)
            ends = np.percentile(draws, [5, 50, 95]).astype(int).tolist()
            low, middle, high = (integer(end) for end in ends)
            most, count = Counter(draws).most_common(1)[0]
            again = f"{integer(most)} ({100 * count / len(draws):.0f} %)"
            rows.append([data.title, name, each(bests), f"{low} to {high}", middle, again])
            if name == "first metric":
                ranges.append(f"between {low} and {high} on {data.title}")
                last = seeds[0].layers - 1
    parts = []
    if ranges:
        parts.append(
            f"90 % of the choices by the first metric lie {listed(ranges)} ({last} is the whole "
            "adapter)."
        )
    if equal:
        parts.append(f"By the first metric, all boundaries score the same on {listed(equal)}.")
    return Finding(
        "How far does the chosen boundary move?",
        (),
        [
            "The best boundary of each seed, and of 1,000 samples of the validation documents for "
            "each seed, drawn with replacement: where 90 % of them lie. A boundary at the end of "
            "the range cannot move beyond it.",
        ],
        ("data", "chosen by", "best of each seed", "90 % of samples", "median", "most often"),
        rows,
        " ".join(parts) or NOTHING,
    )


def prediction(study: Study) -> Finding:
    """How well do the trace, the gradient and the rule of thumb predict the best boundary?"""
    rows, verdicts = [], []
    for data, seeds in study.having("choose", "trace", "test"):
        named = [predictions(seed.steps["choose"], data, seed.steps["trace"]) for seed in seeds]
        for method in PREDICTIONS:
            pairs = [
                (seed, boundary(found[method], seed.layers))
                for found, seed in zip(named, seeds, strict=True)
                if method in found
            ]
            if not pairs:
                rows.append([data.title, method, "none named", "", "", ""])
                outcome = _NONE_NAMED
            else:
                regret, likelihood = _regret(data, pairs)
                missing = len(seeds) - len(pairs)
                kept = each([cut for _, cut in pairs])
                kept += f", none for {missing} of {len(seeds)} seeds" if missing else ""
                rank = ", ".join(dict.fromkeys(_rank(seed, cut) for seed, cut in pairs))
                rows.append([data.title, method, kept, rank, change(regret), change(likelihood)])
                outcome = _predicted(pairs, regret)
            if method == "trace":
                verdicts.append((data.title, outcome))
    return Finding(
        "Can the best boundary be predicted without scoring any?",
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


def _regret(data: Data, pairs: Sequence[tuple[Seed, str]]) -> tuple[Value, Value]:
    """Return what predicted boundaries lose: by the first metric, and by log-likelihood."""
    best = [seed.best() for seed, _ in pairs]
    cuts = [cut for _, cut in pairs]
    tests = [seed.task("test") for seed, _ in pairs]
    golds = [seed.task("test", data.gold_task) for seed, _ in pairs]
    return difference(tests, data.metrics[0], best, cuts), difference(golds, GOLD, best, cuts)


def _predicted(pairs: Sequence[tuple[Seed, str]], regret: Value) -> str:
    """Return the verdict on a prediction that named a boundary."""
    if all(seed.all_equal() for seed, _ in pairs):
        return EQUAL
    if all(cut == seed.best() == WHOLE for seed, cut in pairs):
        return _BOTH_WHOLE
    small = SUPPORTED if regret.high < pairs[0][0].data.scale else OPEN
    return NOT_SUPPORTED if regret.low > 0 else small


def _rank(seed: Seed, cut: str) -> str:
    """Return the place of a boundary among all, by the first metric on the validation documents."""
    values = seed.by_boundary()
    return f"{1 + sum(other > values[cut] for other in values.values())} of {len(values)}"
