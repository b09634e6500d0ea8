"""What a choice gains by luck, how far it moves, and how well it can be predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lm_eval_lora_boundary.report.formatting import integer, signed

from ..answers import LONG, long_answers
from ..comparing import Value, best_on_halves, difference, resampled_best
from ..cuts import PREDICTIONS, WHOLE, boundary, predictions
from ..metrics import GOLD, Record, sign_of
from ..plan import Data
from ..study import Seed, Study
from ..text import EQUAL, NOT_SUPPORTED, NOTHING, OPEN, SUPPORTED, Finding, change, each, listed

_NONE_NAMED = "the trace names no boundary"
_BOTH_WHOLE = "the trace names the whole adapter, and no boundary scored higher"


def luck(study: Study) -> Finding:
    """How much of a gain is the choice itself?"""
    rows: list[list[str]] = []
    higher: list[str] = []
    none: list[str] = []
    for data, seeds in study.having("choose"):
        metric, whole = data.metrics[0], [WHOLE] * len(seeds)
        validations = [seed.task("choose") for seed in seeds]
        best = [seed.best() for seed in seeds]
        below = [seed.best_below_whole() for seed in seeds]
        gain, other = (difference(validations, metric, cuts, whole).value for cuts in (best, below))
        shorter, reversed_by = _without_long_answers(validations, metric, best)
        cells = [data.title, each(best), signed(gain), shorter, f"{each(below)}: {signed(other)}"]
        done = [seed for seed in seeds if seed.has("test")]
        if not done:
            rows.append([*cells, "not tested yet", "", ""])
            tested = "not tested yet"
        else:
            tests = [seed.task("test") for seed in done]
            again = difference(tests, metric, [seed.best() for seed in done], whole[: len(done)])
            halves = [best_on_halves(test, metric, WHOLE) for test in tests]
            seen, unseen = (sum(numbers) / len(halves) for numbers in zip(*halves, strict=True))
            rows.append([*cells, change(again), signed(seen), signed(unseen)])
            tested = f"{change(again)} on test documents"
        if gain > 0:
            higher.append(f"{data.title} ({each(best)}{reversed_by}; {tested})")
        else:
            none.append(data.title)
    return Finding(
        "Is the gain larger than selection alone would produce?",
        (),
        [
            "The gain over the whole adapter on the validation documents, of the best boundary and "
            "of the best one that is not the whole adapter; an interval would not allow for the "
            "choice. *Without long answers* leaves out the documents on which either answer has "
            f"more than {LONG} times as many words as the gold answer: a small model repeats "
            "itself, and a cut may only make it stop. Then the gain of the best boundary on the "
            "test documents. And the gain of the best of all tested cuts, of any order and "
            "strength, if it is chosen on a random half of the test documents: on that half, and "
            "on the other (means over 500 splits).",
        ],
        (
            *("data", "best", "validation", "without long answers"),
            *("best below the whole adapter", "test"),
            *("gain on the half used to choose", "gain on the other half"),
        ),
        rows,
        _looked_better(higher, none) if rows else NOTHING,
    )


def _without_long_answers(
    validations: Sequence[Record], metric: str, best: Sequence[str]
) -> tuple[str, str]:
    """Return the gain on the documents without an answer that is far too long.

    Returns:
        The gain and the number of documents, for the table; and words for the answer, if the gain
        is one on all documents only.
    """
    found = [long_answers(task, metric, cut) for task, cut in zip(validations, best, strict=True)]
    pairs = [(each_found.cut, each_found.whole) for each_found in found]
    gains = [cut - whole for cut, whole in pairs if cut is not None and whole is not None]
    if len(gains) < len(found) or list(best) == [WHOLE] * len(best):
        return "", ""
    sign = sign_of(validations[0], metric)
    gain = sign * sum(gains) / len(gains)
    left = sum(each_found.documents for each_found in found)
    out = sum(int(task["documents"]) for task in validations) - left
    words = f", which scores lower without {out} documents with long answers" if gain < 0 else ""
    return f"{signed(gain)} ({left})", words


def _looked_better(higher: Sequence[str], none: Sequence[str]) -> str:
    """Return where a boundary scored higher than the whole adapter on the validation documents."""
    if not higher:
        return (
            "No boundary scored higher than the whole adapter on the validation documents of "
            f"{listed(none)}."
        )
    others = f", and none did on {listed(none)}" if none else ""
    return (
        "On validation documents, a boundary scored higher than the whole adapter on "
        f"{listed(higher)}{others}."
    )


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
            "each seed, drawn with replacement: where 90 % of them lie. The whole adapter wins a "
            "tie; of others that tie, the smallest. A boundary at the end of the range cannot move "
            "beyond it.",
        ],
        ("data", "chosen by", "best of each seed", "90 % of samples", "median", "most often"),
        rows,
        " ".join(parts) or NOTHING,
    )


def prediction(study: Study) -> Finding:
    """How well do the trace, the gradient and the rule of thumb predict the best boundary?"""
    rows, verdicts = [], []
    losing: dict[str, list[str]] = {}
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
                if method != "trace" and regret.low > 0:
                    losing.setdefault(method, []).append(data.title)
            if method == "trace":
                verdicts.append((data.title, outcome))
    return Finding(
        "Can the best boundary be predicted without scoring any?",
        verdicts,
        [
            "What each prediction loses on the test documents against the boundary that was best "
            "on the validation documents. The verdict is on the trace, the paper's method: "
            "supported if a loss that matters is outside the interval, not supported if a loss is "
            "shown. A negative loss is a gain over that boundary. The rank is among all boundaries "
            "on the validation documents, by the first metric; of equal ones, all ranks are given.",
        ],
        (
            *("data", "prediction", "layers kept", "rank"),
            *("lost, first metric", "lost, log-likelihood"),
        ),
        rows,
        remark=" ".join(
            f"The boundary of {method} is shown to lose on {listed(titles)}."
            if method.startswith("gradient")
            else f"A boundary at {method} is shown to lose on {listed(titles)}."
            for method, titles in losing.items()
        ),
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
    first = 1 + sum(other > values[cut] for other in values.values())
    last = sum(other >= values[cut] for other in values.values())
    return f"{first}{f'–{last}' if last > first else ''} of {len(values)}"
