"""The paper's tables, from our runs."""

from __future__ import annotations

from lm_eval_lora_boundary.report.formatting import metric_name, number

from .comparing import value
from .cuts import NONE, WHOLE
from .metrics import GOLD, LENGTHS
from .study import Study
from .text import each, shown, table


def scores_table(study: Study) -> str:
    """Return the scores of base, whole adapter and chosen boundary on the test documents."""
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
        *("data", "documents", "metric", "base", "whole adapter", "chosen", "layers kept"),
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
        traced = first.has("trace") and first.steps["trace"]["tasks"][data.task].get("documents")
        steps = [step for seed in seeds for step in seed.steps.values()]
        hours = sum(step["time"]["wall"] for step in steps) / 3600
        rows.append(
            [
                data.title,
                f"{first.steps['train']['rows']['used']:,}",
                str(traced) if traced else "–",
                *counts,
                ", ".join(str(seed.seed) for seed in seeds),
                f"{hours:.1f}",
            ]
        )
    headings = (
        "data",
        "training rows",
        "trace",
        "validation",
        "test",
        "seeds",
        "hours of finished runs",
    )
    return table(headings, rows)
