"""The paper's claim, and what its gain is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lm_eval_lora_boundary.report.formatting import metric_name, signed

from ..comparing import Value, best_on_halves, difference
from ..cuts import NONE, WHOLE, two_thirds
from ..metrics import GOLD
from ..plan import Data
from ..study import Seed, Study
from ..text import EQUAL, NO_CUT, NOTHING, Finding, change, each, listed, verdict


@dataclass(frozen=True)
class Compared:
    """The boundary that was best on validation documents, on the test documents of one data set.

    Attributes:
        data: The data set.
        seeds: Its seeds.
        best: The boundary of each seed, as a cut.
        outcome: The verdict.
        gain: How much better it is than the whole adapter, by the first metric.
        likelihood: The same by the log-likelihood of the gold answer.
    """

    data: Data
    seeds: Sequence[Seed]
    best: Sequence[str]
    outcome: str
    gain: Value
    likelihood: Value


def compare_best(study: Study) -> list[Compared]:
    """Compare the boundary that was best on validation documents with the whole adapter."""
    found = []
    for data, seeds in study.having("choose", "test"):
        best = [seed.best() for seed in seeds]
        gain, likelihood, _ = _against_whole(seeds, best)
        if all(seed.all_equal() for seed in seeds):
            outcome = EQUAL
        elif all(cut == WHOLE for cut in best):
            outcome = NO_CUT
        else:
            outcome = verdict(gain, data.scale)
        found.append(Compared(data, seeds, best, outcome, gain, likelihood))
    return found


def best_by_likelihood(study: Study) -> str:
    """Return which boundary was best on validation documents by log-likelihood, as a clause.

    If it was not the whole adapter, what it gains on test documents is added.
    """
    whole: list[str] = []
    other: list[str] = []
    for data, seeds in study.having("choose"):
        best = [seed.best(data.gold_task) for seed in seeds]
        if all(cut == WHOLE for cut in best):
            whole.append(data.title)
            continue
        tested = "not tested yet"
        if done := [seed for seed in seeds if seed.has("test")]:
            gain = _against_whole(done, [seed.best(data.gold_task) for seed in done])[1]
            tested = f"{change(gain)} nats on test documents"
        other.append(f"{data.title} ({each(best)}; {tested})")
    first = "was best on the validation documents of"
    if not other:
        return f"the whole adapter {first} {listed(whole)}"
    if not whole:
        return f"another boundary {first} {listed(other)}"
    both = f"the whole adapter {first} {listed(whole)}"
    return f"{both}, and another boundary on those of {listed(other)}"


def better_cut(study: Study) -> Finding:
    """Does a cut beat the whole adapter on the first metric while the others fall a little?"""
    rows, disagree, harmful = [], [], []
    compared = compare_best(study)
    for found in compared:
        title, gain, likelihood = found.data.title, found.gain, found.likelihood
        rows.append([title, *_against_whole(found.seeds, found.best)[-1]])
        if gain.low > 0 > likelihood.high or gain.high < 0 < likelihood.low:
            disagree.append(title)
        if all(cut == NONE for cut in found.best):
            harmful.append(title)
        shown = [list(found.best)]
        for cuts in (
            [seed.best(found.data.gold_task) for seed in found.seeds],
            [two_thirds(seed.layers) for seed in found.seeds],
        ):
            if cuts not in shown and cuts != [WHOLE] * len(cuts):
                shown.append(cuts)
                rows.append([title, *_against_whole(found.seeds, cuts)[-1]])
    remarks = [
        f"{sentence} {listed(titles)}."
        for sentence, titles in (
            ("Metric and log-likelihood disagree on", disagree),
            ("The base model was best on the validation documents of", harmful),
        )
        if titles
    ]
    if compared:
        remarks.append(f"By log-likelihood, {best_by_likelihood(study)}.")
    return Finding(
        "Does a cut beat the whole adapter, while the other metrics fall a little?",
        [(found.data.title, found.outcome) for found in compared],
        [
            "The boundary that was best on the validation documents, against the whole adapter, on "
            "the test documents; below it, the one that was best by log-likelihood, if that is "
            "another, and the one at two thirds of the layers. The verdict leaves both out. The "
            "log-likelihood of the gold answer, in nats per document, can show differences where "
            "hardly any answer is right."
        ],
        ("data", "layers kept", "first metric", "other metrics", "log-likelihood of the gold"),
        rows,
        remark=" ".join(remarks),
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
        cells = [data.title, each(best), signed(gain), f"{each(below)}: {signed(other)}"]
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
            tested = f"{signed(again.value)} on test documents"
        if gain > 0:
            higher.append(f"{data.title} ({each(best)}; {tested})")
        else:
            none.append(data.title)
    return Finding(
        "Is the gain larger than selection alone would produce?",
        (),
        [
            "The gain over the whole adapter on the validation documents, of the best boundary and "
            "of the best one that is not the whole adapter; an interval would not allow for the "
            "choice. Then the gain of the same boundary on the test documents. And the gain of the "
            "best of all tested cuts, of any order and strength, if it is chosen on a random half "
            "of the test documents: on that half, and on the other (means over 500 splits).",
        ],
        (
            *("data", "best", "validation", "best below the whole adapter", "test"),
            *("gain on the half used to choose", "gain on the other half"),
        ),
        rows,
        _looked_better(higher, none) if rows else NOTHING,
    )


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


def adapter_helps(study: Study) -> Finding:
    """Does the adapter help at all, and does a smaller one keep it?"""
    rows, verdicts, unknown = [], [], []
    for data, seeds in study.having("choose", "test"):
        tests = [seed.task("test") for seed in seeds]
        golds = [seed.task("test", data.gold_task) for seed in seeds]
        whole, base = [WHOLE] * len(seeds), [NONE] * len(seeds)
        gain = difference(tests, data.metrics[0], whole, base)
        likelihood = difference(golds, GOLD, whole, base)
        smallest = [seed.smallest() or WHOLE for seed in seeds]
        kept = each(smallest).replace(each(whole), "none shown")
        against = difference(tests, data.metrics[0], smallest, whole)
        loss = "" if smallest == whole else change(against)
        if WHOLE in smallest:
            unknown.append(data.title)
        rows.append([data.title, change(gain), change(likelihood), kept, loss])
        verdicts.append((data.title, verdict(gain, data.scale)))
    return Finding(
        "Does the adapter help, and what is the smallest cut that keeps it?",
        verdicts,
        ["The smallest boundary is the one that the validation documents show to keep 90 %."],
        (
            *("data", "whole adapter against base", "log-likelihood of the gold"),
            *("smallest boundary", "against the whole adapter"),
        ),
        rows,
        remark=f"No smaller boundary is shown to keep 90 % of the gain on {listed(unknown)}."
        if unknown
        else "",
    )
