"""The paper's tables, from our runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lm_eval_lora_boundary.report.formatting import metric_name, number

from .comparing import value
from .cuts import NONE, WHOLE, two_thirds
from .metrics import GOLD, LENGTHS, Record, scores
from .study import Seed, Study
from .text import each, kept, shown, table

_LONG = 3  # times the gold answer's words


def scores_table(study: Study) -> str:
    """Return the scores of base, whole adapter and cut on the test documents."""
    rows = []
    for data, seeds in study.having("choose", "test"):
        best = [seed.best() for seed in seeds]
        whole = [WHOLE] * len(seeds)
        names = {(metric, data.task): metric_name(metric) for metric in data.metrics}
        names[LENGTHS, data.task] = "words, relative to the gold"
        names[GOLD, data.gold_task] = "log-likelihood of the gold"
        for (metric, task), name in names.items():
            tests = [seed.task("test", task) for seed in seeds]
            validations = [seed.task("choose", task) for seed in seeds]
            cells = [
                *(shown(value(tests, metric, cuts)) for cuts in ([NONE] * len(seeds), whole, best)),
                number(value(validations, metric, whole).value),
            ]
            rows.append([data.title, str(tests[0]["documents"]), name, *cells[:3], each(best)])
            rows[-1].append(cells[3])
    headings = (
        *("data", "documents", "metric", "base", "whole adapter", "cut", "layers kept"),
        "whole adapter, validation",
    )
    return table(headings, rows)


def rows_table(study: Study) -> str:
    """Return how many rows were used, and how long it took."""
    rows = []
    for data, seeds in study.having("train"):
        first = seeds[0]
        counts = [
            str(first.task(step)["documents"]) if first.has(step) else "–"
            for step in ("choose", "test")
        ]
        steps = [step for seed in seeds for step in seed.steps.values()]
        hours = sum(step["time"]["wall"] for step in steps) / 3600
        rows.append(
            [
                data.title,
                f"{first.steps['train']['rows']['used']:,}",
                *counts,
                ", ".join(str(seed.seed) for seed in seeds),
                f"{hours:.1f}",
            ]
        )
    headings = ("data", "training rows", "validation", "test", "seeds", "hours so far")
    return table(headings, rows)


def what_changes(study: Study) -> str:
    """Return in words and numbers what a cut changes in the answers, without any of them."""
    found = [
        f"- {data.title}, seed {seed.seed}: {_changes(seed)}"
        for data, seeds in study.having("choose", "test")
        for seed in seeds
    ]
    return "\n".join(found) if found else "Not run yet."


def _changes(seed: Seed) -> str:
    cut = seed.best()
    if cut == WHOLE:
        cut = two_thirds(seed.layers)
    task, metric = seed.task("test"), seed.data.metrics[0]
    responses = task["responses"]
    same = [a == b for a, b in zip(responses[cut], responses[WHOLE], strict=True)]
    ours, theirs = (_words(task, each_cut) for each_cut in (cut, WHOLE))
    low, high = np.percentile(ours[:, 0] - theirs[:, 0], [25, 75])
    means = [number(float(found[:, 0].mean())) for found in (ours, theirs)]
    parts = [
        f"with {kept(cut)}, {sum(same)} of {len(same)} answers are identical to the whole "
        f"adapter's; {int((ours[:, 0] > theirs[:, 0]).sum())} are longer and "
        f"{int((ours[:, 0] < theirs[:, 0]).sum())} shorter. They average {means[0]} words instead "
        f"of {means[1]}; the middle half of the differences lies between {number(float(low))} and "
        f"{number(float(high))} words."
    ]
    if task["metrics"][metric]["kind"] == "mean":
        change = np.array(_values(task, metric, cut)) - np.array(_values(task, metric, WHOLE))
        parts.append(
            f"{metric_name(metric)} rises on {_documents(change > 0)} and falls on "
            f"{_documents(change < 0)}; the largest rise is {number(float(change.max()))}, the "
            f"largest fall {number(float(-change.min()))}."
        )
    parts.append(_without_long_answers(task, metric, cut, ours, theirs))
    return " ".join(parts)


def _without_long_answers(
    task: Record, metric: str, cut: str, ours: np.ndarray, theirs: np.ndarray
) -> str:
    """Return what remains of a difference where neither answer is far too long.

    A small model repeats itself. A cut that only makes it stop then looks better.
    """
    long = [found[:, 0] > _LONG * np.maximum(1, found[:, 1]) for found in (ours, theirs)]
    text = (
        f"{int(long[0].sum())} answers have more than {_LONG} times as many words as the gold "
        f"answer, against {int(long[1].sum())} of the whole adapter's"
    )
    left = ~(long[0] | long[1])
    if left.all() or not left.any():
        return f"{text}."
    mine, whole = scores(task, metric, [cut, WHOLE]).resample(left[None, :].astype(int))[0]
    return (
        f"{text}. On the {int(left.sum())} documents without such an answer, {metric_name(metric)} "
        f"is {number(float(mine))}, and {number(float(whole))} with the whole adapter."
    )


def _documents(chosen: np.ndarray) -> str:
    """Return how many documents were chosen, as text."""
    count = int(chosen.sum())
    return f"{count} document{'' if count == 1 else 's'}"


def _words(task: Record, cut: str) -> np.ndarray:
    """Return the numbers of words of answers and gold answers, shape (documents, 2)."""
    return np.array(task["metrics"][LENGTHS]["cuts"][cut]["documents"])


def _values(task: Record, metric: str, cut: str) -> Sequence[float]:
    documents: Sequence[float] = task["metrics"][metric]["cuts"][cut]["documents"]
    return documents
