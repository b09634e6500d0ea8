"""The paper's tables, from our runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lm_eval_lora_boundary.report.formatting import metric_name, number

from .comparing import GOLD, Record, value
from .cuts import NONE, WHOLE, two_thirds
from .study import Seed, Study
from .text import each, shown, table

_LENGTHS = "length_ratio_corpus,none"


def scores_table(study: Study) -> str:
    """Return the scores of base, whole adapter and cut on the test documents."""
    rows = []
    for data, seeds in study.having("choose", "test"):
        best = [seed.best() for seed in seeds]
        for metric, task in (*((m, data.task) for m in data.metrics), (GOLD, data.gold_task)):
            tasks = [seed.task("test", task) for seed in seeds]
            cells = [
                shown(value(tasks, metric, cuts))
                for cuts in ([NONE] * len(seeds), [WHOLE] * len(seeds), best)
            ]
            name = "log-likelihood of the gold" if metric == GOLD else metric_name(metric)
            documents = f"{tasks[0]['documents']}"
            rows.append([data.title, documents, name, *cells, each(best)])
    headings = ("data", "documents", "metric", "base", "whole adapter", "cut", "layers kept")
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


def what_changes(study: Study, name: str) -> str:
    """Return in words and numbers what a cut changes in the answers to a data set."""
    found = [seeds for data, seeds in study.having("choose", "test") if data.name == name]
    if not found:
        return "Not run yet."
    parts = [_changes(seed) for seed in found[0]]
    return "\n".join(
        f"- Seed {seed.seed}: {part}" for seed, part in zip(found[0], parts, strict=True)
    )


def _changes(seed: Seed) -> str:
    cut = seed.best()
    if cut == WHOLE:
        cut = two_thirds(seed.layers)
    task, metric = seed.task("test"), seed.data.metrics[0]
    responses = task["responses"]
    same = [a == b for a, b in zip(responses[cut], responses[WHOLE], strict=True)]
    count = len(same)
    ours, theirs = (_lengths(task, each_cut) for each_cut in (cut, WHOLE))
    change = np.array(_values(task, metric, cut)) - np.array(_values(task, metric, WHOLE))
    low, middle, high = np.percentile(ours - theirs, [25, 50, 75])
    return (
        f"layers {each([cut])} give the same answer as the whole adapter to {sum(same)} of {count} "
        f"documents. Their answers are longer on {int((ours > theirs).sum())} and shorter on "
        f"{int((ours < theirs).sum())}: {ours.mean():.1f} words on average against "
        f"{theirs.mean():.1f}, half of the differences from {low:.1f} to {high:.1f} (median "
        f"{middle:.1f}). {metric_name(metric)} rises on "
        f"{int((change > 0).sum())} documents and falls on {int((change < 0).sum())}; the largest "
        f"rise is {number(float(change.max()))}, the largest fall {number(float(-change.min()))}."
    )


def _lengths(task: Record, cut: str) -> np.ndarray:
    return np.array([item[0] for item in task["metrics"][_LENGTHS]["cuts"][cut]["documents"]])


def _values(task: Record, metric: str, cut: str) -> Sequence[float]:
    documents: Sequence[float] = task["metrics"][metric]["cuts"][cut]["documents"]
    return documents
