"""The paper's claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lm_eval_lora_boundary.report.formatting import metric_name

from ..comparing import Value, difference
from ..cuts import NONE, WHOLE, two_thirds
from ..metrics import GOLD
from ..plan import Data
from ..study import Seed, Study
from ..text import EQUAL, NO_CUT, SUPPORTED, Finding, change, each, listed, verdict


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
        cells: Both, and the other metrics, as cells of a table.
    """

    data: Data
    seeds: Sequence[Seed]
    best: Sequence[str]
    outcome: str
    gain: Value
    likelihood: Value
    cells: Sequence[str]


@lru_cache(maxsize=1)  # the README repeats it
def compare_best(study: Study) -> list[Compared]:
    """Compare the boundary that was best on validation documents with the whole adapter."""
    found = []
    for data, seeds in study.having("choose", "test"):
        best = [seed.best() for seed in seeds]
        gain, likelihood, cells = _against_whole(seeds, best)
        if all(seed.all_equal() for seed in seeds):
            outcome = EQUAL
        elif all(cut == WHOLE for cut in best):
            outcome = NO_CUT
        else:
            outcome = verdict(gain, data.scale)
        found.append(Compared(data, seeds, best, outcome, gain, likelihood, cells))
    return found


@lru_cache(maxsize=2)  # the README repeats it
def at_two_thirds(study: Study, likelihood: bool = False) -> str:
    """Return how the cut at two thirds of the layers compares with the whole adapter, as a clause.

    No document is needed to choose it, so its comparison is free of luck.

    Args:
        study: The records.
        likelihood: Whether to compare by the log-likelihood of the gold answer, instead of by the
            first metric.
    """
    better: list[str] = []
    worse: list[str] = []
    neither: list[str] = []
    for data, seeds in study.having("choose", "test"):
        first, second, _ = _against_whole(seeds, [two_thirds(seed.layers) for seed in seeds])
        gain = second if likelihood else first
        found = better if gain.low > 0 else worse if gain.high < 0 else neither
        found.append(data.title)
    parts = [
        f"{words} {listed(titles)}"
        for words, titles in (
            ("better on", better),
            ("worse on", worse),
            ("not shown to differ on", neither),
        )
        if titles
    ]
    return listed(parts)


def better_cut(study: Study) -> Finding:
    """Does a cut beat the whole adapter on the first metric while the others fall a little?"""
    rows, disagree, harmful = [], [], []
    compared = compare_best(study)
    for found in compared:
        title, gain, likelihood = found.data.title, found.gain, found.likelihood
        rows.append([title, *found.cells])
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
        remarks += [
            f"At two thirds of the layers, the paper's rule of thumb, the cut is "
            f"{at_two_thirds(study)}; by log-likelihood, it is {at_two_thirds(study, True)}.",
            f"By log-likelihood, {_best_by_likelihood(study)}.",
        ]
    return Finding(
        "Does a cut beat the whole adapter, while the other metrics fall a little?",
        [(found.data.title, found.outcome) for found in compared],
        [
            "The boundary that was best on the validation documents, against the whole adapter, on "
            "the test documents; below it, the one that was best by log-likelihood, if that is "
            "another, and the one at two thirds of the layers. The verdict is on the first of them "
            "and on the first metric alone; the other metrics are shown without one. The "
            "log-likelihood of the gold answer, in nats per document, can show differences where "
            "hardly any answer is right."
        ],
        ("data", "layers kept", "first metric", "other metrics", "log-likelihood of the gold"),
        rows,
        remark=" ".join(remarks),
    )


def _best_by_likelihood(study: Study) -> str:
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


@lru_cache(maxsize=1)  # the README repeats it
def adapter_helps(study: Study) -> Finding:
    """Does the adapter help at all, and does a smaller one keep it?"""
    rows, verdicts = [], []
    helps: list[str] = []
    unknown: list[str] = []
    keeping: list[str] = []
    for data, seeds in study.having("choose", "test"):
        tests = [seed.task("test") for seed in seeds]
        golds = [seed.task("test", data.gold_task) for seed in seeds]
        whole, base = [WHOLE] * len(seeds), [NONE] * len(seeds)
        gain = difference(tests, data.metrics[0], whole, base)
        likelihood = difference(golds, GOLD, whole, base)
        row = [data.title, change(gain), change(likelihood)]
        by_metric, by_likelihood = (
            [seed.smallest(task) or WHOLE for seed in seeds] for task in (data.task, data.gold_task)
        )
        for smallest, records, metric in (
            (by_metric, tests, data.metrics[0]),
            (by_likelihood, golds, GOLD),
        ):
            row.append(each(smallest).replace(each(whole), "none shown"))
            row.append(
                "" if smallest == whole else change(difference(records, metric, smallest, whole))
            )
        outcome = verdict(gain, data.scale)
        if likelihood.low > 0:
            helps.append(data.title)
        if outcome == SUPPORTED and WHOLE in by_metric:
            unknown.append(data.title)
        if WHOLE not in by_likelihood:
            keeping.append(f"{data.title} ({each(by_likelihood)})")
        rows.append(row)
        verdicts.append((data.title, outcome))
    remarks = [
        f"{sentence} {listed(names)}."
        for sentence, names in (
            ("By log-likelihood, it helps on", helps),
            (
                "By the first metric, no smaller boundary is shown to keep 90 % of the gain on",
                unknown,
            ),
            ("By log-likelihood, one is shown to keep it on", keeping),
        )
        if names
    ]
    return Finding(
        "Does the adapter help, and what is the smallest cut that keeps it?",
        verdicts,
        [
            "The smallest boundary is the one that the validation documents show to keep 90 % of "
            "the gain, by the first metric, and by log-likelihood. Few documents seldom show that "
            "([how many it takes](statistics.md#how-many-documents))."
        ],
        (
            *("data", "whole adapter against base", "log-likelihood of the gold"),
            *("smallest boundary", "against the whole adapter"),
            *("smallest by log-likelihood", "against the whole adapter, log-likelihood"),
        ),
        rows,
        remark=" ".join(remarks),
    )
