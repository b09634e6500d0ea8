"""Writes records as `make replicate` would, with made-up numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sacrebleu import BLEU, CHRF

from replication.cuts import NONE, WHOLE, boundary, cuts_to_test
from replication.plan import CONTROLS, DATA, EARLIER, LOWER_LAYERS, RETENTION
from replication.run import as_text
from replication.steps import FAMILIES

LAYERS = 6
WORDS = ("a", "the", "house", "green", "is", "old", "and", "small", "very")
LENGTHS = "length_ratio_corpus,none"
MATCHED = "matched,strict-match"  # which a record has for GSM8K


BEST = {"wmt23": 2}  # the best boundary, by data set; else 3
# of six layers; `norm` is like `lower`, and `map` like the boundaries
ORDERS = {
    "lower": [WHOLE, "1-5", "2-5", "3-5", "4-5", "5", NONE],
    "random:1": [WHOLE, "0-2+4-5", "0-1+4-5", "0+4-5", "4-5", "5", NONE],
    "random:2": [WHOLE, "0+2-5", "0+3-5", "0+4-5", "0+5", "0", NONE],
    "random:3": [WHOLE, "0-1+3-5", "0+3-5", "3-5", "3+5", "3", NONE],
    "norm": [WHOLE, "1-5", "2-5", "3-5", "4-5", "5", NONE],
    "output": [WHOLE, "0-3+5", "0-2+5", "0-1+5", "0+5", "5", NONE],
    "map": [WHOLE, "0-4", "0-3", "0-2", "0-1", "0", NONE],
}


def quality(cut: str, best: int) -> float:
    """Return how good a cut is; the truth behind the numbers."""
    if cut == NONE:
        return 0.2
    return {WHOLE: 0.6, f"0-{best}": 0.9}.get(cut, 0.5)


def corpus(generator, scorer, good: float, documents: int) -> list[list[int]]:
    """Return the counts of translations, a share of which is right."""
    references = [" ".join(generator.choice(WORDS, 8)) for _ in range(documents)]
    other = [" ".join(generator.choice(WORDS, 7)) for _ in range(documents)]
    right = generator.random(documents) < good
    responses = np.where(right, references, other).tolist()
    return [
        list(map(int, row)) for row in scorer._extract_corpus_statistics(responses, [references])
    ]


def task(generator, metrics, cuts, documents, split="test", decision=None, best=3) -> dict:
    """Return a task's scores under cuts."""
    entries = {}
    matched = (MATCHED,) if "exact_match,strict-match" in metrics else ()
    for metric in (*metrics, *matched, LENGTHS):
        kind = {"bleu": "bleu", "chrf": "chrf", "length_ratio_corpus": "ratio"}.get(
            metric.partition(",")[0], "mean"
        )
        by_cut = {}
        for cut in cuts:
            good = quality(cut, best)
            if kind == "mean" and metric.startswith("loglikelihood"):
                numbers = (-10 + 5 * good + generator.normal(0, 0.5, documents)).tolist()
            elif kind == "mean":
                share = np.arange(documents) < good * documents
                numbers = generator.permutation(share).astype(float).tolist()
            elif kind == "ratio":
                numbers = [[int(n), 8] for n in generator.integers(4, 12, documents)]
            else:
                numbers = corpus(generator, {"bleu": BLEU, "chrf": CHRF}[kind](), good, documents)
            value = (
                float(np.mean(numbers))
                if kind == "mean"
                else sum(n[0] for n in numbers) / (8 * documents)
                if kind == "ratio"
                else 100 * good  # about
            )
            by_cut[cut] = {"value": value, "documents": numbers}
        better = None if metric == LENGTHS else True
        entries[metric] = {"higher_is_better": better, "kind": kind, "cuts": by_cut}
    return {
        "metric": metrics[0],
        "split": split,
        "documents": documents,
        "metrics": entries,
        "ids": [f"{i:08x}" for i in range(documents)],
        "clusters": None,
        "responses": {cut: [f"{hash_}" for hash_ in range(documents)] for cut in cuts},
        "decision": decision or {},
    }


def write_records(folder: Path, seeds=(0,), documents: int = 40) -> None:
    """Write the records of all data sets."""
    every = [boundary(k, LAYERS) for k in range(-1, LAYERS)]
    assert set(ORDERS) == set(FAMILIES)
    for data in DATA:
        for seed in seeds:
            generator = np.random.default_rng(seed)
            best = BEST.get(data.name, 3)
            decision = {"best_boundary": best, "smallest_noninferior": 4, "choice": 4, "best": best}
            tasks = {
                name: task(generator, metrics, every, documents, "validation", decision, best)
                for name, metrics in (
                    (data.task, data.metrics),
                    (data.gold_task, ("loglikelihood,none",)),
                )
            }
            controls = {
                name: task(generator, ("acc,none",), every, 20, "validation") for name in RETENTION
            }
            curve = [{"layer": i, "mean": i / LAYERS} for i in range(LAYERS)]
            gradient = {"suggested": 2, "suggested_by_curve": 4}
            traced = {
                "candidate": 3,
                "models": {"full": curve, "base": curve},
                "gradient": gradient,
            }
            steps = {
                "train": {
                    "rows": {"used": 100},
                    "base": {"name": "made-up"},
                    "settings": {"boundary": None, "dtype": "bfloat16"},
                },
                "trace": {"tasks": {data.task: traced}},
                "orders": {"orders": ORDERS},
                "choose": {"layers": LAYERS, "tasks": tasks, "control_tasks": controls},
            }
            cuts = cuts_to_test(steps["choose"], data, ORDERS, steps["trace"])
            tests = {
                data.task: task(generator, data.metrics, cuts, documents, best=best),
                data.gold_task: task(
                    generator, ("loglikelihood,none",), cuts, documents, best=best
                ),
            }
            steps["test"] = {"layers": LAYERS, "tasks": tests}
            if data.controls and seed == 0:
                for name in (*CONTROLS, *EARLIER):
                    last = 3 if name == LOWER_LAYERS else None
                    if name in CONTROLS:
                        steps[f"{name}-train"] = {"settings": {"boundary": last}}
                    other = {
                        data.task: task(generator, data.metrics, [NONE, WHOLE], documents),
                        data.gold_task: task(
                            generator, ("loglikelihood,none",), [NONE, WHOLE], documents
                        ),
                    }
                    steps[f"{name}-test"] = {"layers": LAYERS, "tasks": other}
            for name, content in steps.items():
                path = folder / data.name / f"seed={seed}" / f"{name}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(as_text({"time": {"wall": 60, "cpu": 90}, **content}), "utf-8")
