"""The paper's claim, and whether other cuts would do as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lm_eval_lora_boundary.report.formatting import metric_name, signed

from ..comparing import GOLD, Value, best_on_halves, difference
from ..cuts import NONE, STRENGTHS, WHOLE, boundary, of_size, sizes, two_thirds
from ..study import Seed, Study
from ..text import NOTHING, Finding, change, each, listed, verdict

_TEST = ("choose", "orders", "trace", "test")


def better_cut(study: Study) -> Finding:
    """Does a cut beat the whole adapter on the first metric while the others fall a little?"""
    rows, verdicts = [], []
    disagree = []
    for data, seeds in study.having(*_TEST):
        best = [seed.best() for seed in seeds]
        gain, likelihood, row = _against_whole(seeds, best)
        rows.append([data.title, *row])
        verdicts.append((data.title, verdict(gain, data.scale)))
        if gain.low > 0 > likelihood.high or gain.high < 0 < likelihood.low:
            disagree.append(data.title)
        lower = [two_thirds(seed.layers) for seed in seeds]
        if lower != best:
            rows.append([data.title, *_against_whole(seeds, lower)[-1]])
    sentences = [
        "The boundary that was best on the validation documents, against the whole adapter, on the "
        "test documents; below it, the boundary at two thirds of the layers, which the verdict "
        "leaves out. The log-likelihood of the gold answer, in nats, has power where few answers "
        "are right."
    ]
    if disagree:
        sentences.append(f"Metric and log-likelihood disagree on {listed(disagree)}.")
    return Finding(
        "Does a cut beat the whole adapter, while the other metrics fall a little?",
        verdicts,
        sentences,
        ("data", "layers kept", "first metric", "other metrics", "log-likelihood of the gold"),
        rows,
    )


def _against_whole(seeds: Sequence[Seed], cuts: Sequence[str]) -> tuple[Value, Value, list[str]]:
    """Compare cuts with the whole adapter on the test documents.

    Returns:
        How much better they are by the first metric and by the log-likelihood of the gold answer,
        and the cells of a row of the table.
    """
    data = seeds[0].data
    whole = [WHOLE] * len(seeds)
    tests = [seed.task("test") for seed in seeds]
    golds = [seed.task("test", data.gold_task) for seed in seeds]
    gains = {metric: difference(tests, metric, cuts, whole) for metric in data.metrics}
    likelihood = difference(golds, GOLD, cuts, whole)
    shown = [f"{metric_name(metric)} {change(gain)}" for metric, gain in gains.items()]
    row = [each(cuts), shown[0], "; ".join(shown[1:]), change(likelihood)]
    return gains[data.metrics[0]], likelihood, row


def other_orders(study: Study) -> Finding:
    """Does dropping the upper layers beat dropping as many others?"""
    return _against_rivals(
        study,
        _orders,
        "Does dropping the upper layers beat dropping as many others?",
        "Differences on the test documents at the same number of kept layers: positive where the "
        "cut of the upper layers is better. It is supported on a data set only if it beats every "
        "order there. Intervals are for one comparison each: of seven orders that are as good, "
        "expect one in three data sets whose interval leaves out 0.",
    )


def one_strength(study: Study) -> Finding:
    """Does dropping the upper layers beat the whole adapter at a lower strength?"""
    return _against_rivals(
        study,
        _strengths,
        "Does dropping the upper layers beat one lower strength for the whole adapter?",
        "The same cut of the upper layers against all layers, with their LoRA scaled down. It is "
        "supported on a data set only if the cut beats every strength there.",
    )


def _against_rivals(
    study: Study, rivals: Callable[[Seed, int], dict[str, str]], question: str, sentence: str
) -> Finding:
    """Compare the cut of the upper layers with others, by metric and by log-likelihood.

    Args:
        study: The records.
        rivals: Returns the other cuts of a seed by name, given how many layers are kept.
        question: The question.
        sentence: What its answer rests on.
    """
    names, verdicts, sentences = [], [], [sentence]
    first: dict[str, list[str]] = {}
    likelihood: dict[str, list[str]] = {}
    for data, seeds in study.having(*_TEST):
        kept = [sizes(seed.steps["choose"], data)[-1] for seed in seeds]
        pairs = list(zip(seeds, kept, strict=True))
        upper = [boundary(k - 1, seed.layers) for seed, k in pairs]
        others = [rivals(seed, k) for seed, k in pairs]
        tests = [seed.task("test") for seed in seeds]
        golds = [seed.task("test", data.gold_task) for seed in seeds]
        gains, by_likelihood = [], []
        for name in others[0]:
            cuts = [by_name[name] for by_name in others]
            gains.append(difference(tests, data.metrics[0], upper, cuts))
            first.setdefault(name, []).append(change(gains[-1]))
            by_likelihood.append(difference(golds, GOLD, upper, cuts))
            likelihood.setdefault(name, []).append(change(by_likelihood[-1]))
        sentences.append(
            f"On {data.title}, {each(upper)} {_counted(gains)} by {metric_name(data.metrics[0])}, "
            f"and {_counted(by_likelihood)} by log-likelihood."
        )
        names.append(f"{data.title}, {each(upper)}")
        verdicts.append((data.title, _all_of(gains, data.scale)))
    return Finding(
        question,
        verdicts,
        sentences,
        ("against", *names),
        [
            *([name, *cells] for name, cells in first.items()),
            *([f"log-likelihood: {name}", *cells] for name, cells in likelihood.items()),
        ],
    )


def _orders(seed: Seed, kept: int) -> dict[str, str]:
    orders = seed.steps["orders"]["orders"]
    return {name: of_size(order, kept) for name, order in orders.items()}


def _strengths(seed: Seed, kept: int) -> dict[str, str]:
    del seed, kept
    return {f"strength {strength}": f"all@{strength}" for strength in STRENGTHS}


def _counted(gains: Sequence[Value]) -> str:
    """Return how many rivals something is shown to beat, and how many beat it."""
    better, worse = sum(gain.low > 0 for gain in gains), sum(gain.high < 0 for gain in gains)
    return f"beats {better} and loses to {worse} of {len(gains)}"


def _all_of(gains: Sequence[Value], scale: float) -> str:
    """Return the verdict on beating all rivals: that of the strongest rival."""
    hardest = min(gains, key=lambda gain: gain.low)
    weakest = min(gains, key=lambda gain: gain.high)
    return verdict(
        Value(hardest.value, hardest.low, weakest.high, hardest.documents, hardest.seeds), scale
    )


def luck(study: Study) -> Finding:
    """How much of a gain is the choice itself?"""
    rows, kept = [], []
    for data, seeds in study.having(*_TEST):
        best, whole = [seed.best() for seed in seeds], [WHOLE] * len(seeds)
        metric = data.metrics[0]
        chosen = difference([seed.task("choose") for seed in seeds], metric, best, whole)
        tests = [seed.task("test") for seed in seeds]
        tested = difference(tests, metric, best, whole)
        halves = [best_on_halves(test, metric, WHOLE) for test in tests]
        seen, unseen = (sum(numbers) / len(halves) for numbers in zip(*halves, strict=True))
        rows.append(
            [data.title, each(best), change(chosen), change(tested), signed(seen), signed(unseen)]
        )
        if best != whole:
            kept.append(tested.value > 0)
    if not rows:
        answer = NOTHING
    elif not kept:
        answer = "On no data set did a boundary look better than the whole adapter."
    else:
        answer = (
            f"On {len(kept)} of {len(rows)} data sets, a boundary looked better than the whole "
            f"adapter on the validation documents; on {sum(kept)} of these, it is better on the "
            "test documents too."
        )
    return Finding(
        "Is the gain more than the choice itself brings by luck?",
        (),
        [
            "The gain of the best boundary over the whole adapter, on the documents that it was "
            "chosen on and on others; and that of the best of all tested cuts, of any order and "
            "strength, if it is chosen on a random half of the test documents: on that half, and "
            "on the other one (means over 500 splits).",
        ],
        (
            *("data", "layers kept", "validation", "test"),
            *("best of all: half it was chosen on", "other half"),
        ),
        rows,
        answer,
    )


def adapter_helps(study: Study) -> Finding:
    """Does the adapter help at all, and does a smaller one keep it?"""
    rows, verdicts = [], []
    for data, seeds in study.having(*_TEST):
        tests = [seed.task("test") for seed in seeds]
        whole, base = [WHOLE] * len(seeds), [NONE] * len(seeds)
        gain = difference(tests, data.metrics[0], whole, base)
        smallest = [seed.smallest() or WHOLE for seed in seeds]
        kept = "none shown" if smallest == whole else each(smallest)
        loss = (
            "" if smallest == whole else change(difference(tests, data.metrics[0], smallest, whole))
        )
        rows.append([data.title, change(gain), kept, loss])
        verdicts.append((data.title, verdict(gain, data.scale)))
    return Finding(
        "Does the adapter help, and what is the smallest cut that keeps it?",
        verdicts,
        ["The smallest boundary is the one that the validation documents show to keep 90 %."],
        ("data", "whole adapter against base", "smallest boundary", "against the whole adapter"),
        rows,
    )
