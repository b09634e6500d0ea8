"""What else a cut changes: the format of answers, and what was forgotten."""

from __future__ import annotations

from collections.abc import Mapping

from lm_eval_lora_boundary.report.formatting import integer, metric_name, number

from ..comparing import Value, boundaries, difference, value
from ..cuts import NONE, RULE_OF_THUMB, WHOLE, at_share, boundary, two_thirds
from ..plan import RETENTION
from ..study import Seed, Study
from ..text import (
    NO_HARM,
    NOT_SUPPORTED,
    OPEN,
    SUFFERS,
    SUPPORTED,
    Finding,
    change,
    listed,
    shown,
    verdict,
)

KEPT = "nothing was forgotten"
_POINT = 0.01  # of a share
# metrics by data set, with what they count; the first is on the format alone
_FORMAT: Mapping[str, Mapping[str, str]] = {
    "gsm8k": {
        "matched,strict-match": "in the format",
        "exact_match,strict-match": "right, in the format",
        "exact_match,flexible-extract": "right, in any format",
    },
    "json": {"valid_json,none": "in the format"},
}


def answer_format(study: Study) -> Finding:
    """Does a strict format of answers suffer from a cut?"""
    rows: list[list[str]] = []
    verdicts, losses = [], []
    numbers: list[int] = []
    for data, seeds in study.having("choose"):
        if data.name not in _FORMAT:
            continue
        tasks, layers = [seed.task("choose") for seed in seeds], seeds[0].layers
        names = boundaries(tasks[0], layers)
        numbers = sorted({*range(-1, layers, max(1, layers // 6)), layers - 1} & set(names))
        for metric in _FORMAT[data.name]:
            found = [value(tasks, metric, [names[k]] * len(seeds)) for k in numbers]
            cells = [number(each_found.value) for each_found in found]
            rows.append([data.title, _FORMAT[data.name][metric], *cells])
        tests = [seed.task("test") for seed in seeds if seed.has("test")]
        if not tests:
            continue
        valid, parts = next(iter(_FORMAT[data.name])), []
        for words, share in zip(("half", "two thirds"), RULE_OF_THUMB, strict=True):
            cut = boundary(at_share(share, layers), layers)
            lost = difference(tests, valid, [WHOLE] * len(tests), [cut] * len(tests))
            outcome = {SUPPORTED: SUFFERS, NOT_SUPPORTED: NO_HARM}
            found_here = verdict(lost, _POINT)
            verdicts.append(((data.title, words), outcome.get(found_here, found_here)))
            share_kept = value(tests, valid, [cut] * len(tests)).value
            parts.append(
                f"{number(share_kept)} ({change(lost.times(-1))}) at {words} of the layers"
            )
        whole, base = (
            number(value(tests, valid, [cut] * len(tests)).value) for cut in (WHOLE, NONE)
        )
        losses.append(
            f"On {data.title}, that share is {whole} with the whole adapter, {listed(parts)}, and "
            f"{base} with the base model."
        )
    sentences = [
        "The table shows the validation documents. The verdict is on the test documents, at half "
        "and two thirds of the layers: the format suffers if the share of answers in it is shown "
        "to fall. For GSM8K that is a number after `####`, for JSON an object that has the wanted "
        "keys and nothing else.",
    ]
    return Finding(
        "Does a strict format suffer?",
        verdicts,
        [*sentences, *losses],
        ("data", "share of answers", *(f"K = {integer(k)}" for k in numbers)),
        rows,
    )


def retention(study: Study) -> Finding:
    """Does a cut adapter forget less of what the base model knew?"""
    rows, verdicts = [], []
    given: list[str] = []
    for data, seeds in study.having("choose"):
        for name in RETENTION:
            tasks = [seed.task("choose", name) for seed in seeds if _scored(seed, name)]
            if len(tasks) < len(seeds):
                continue
            metric = tasks[0]["metric"]
            whole, base = [WHOLE] * len(seeds), [NONE] * len(seeds)
            cuts = [two_thirds(seed.layers) for seed in seeds]
            forgotten = difference(tasks, metric, whole, base)
            gain = difference(tasks, metric, cuts, whole)
            label = name.removeprefix("lora_boundary_").replace("_", " ")
            rows.append(
                [
                    data.title,
                    f"{label}, {metric_name(metric)}",
                    str(tasks[0]["documents"]),
                    shown(value(tasks, metric, base)),
                    change(forgotten),
                    change(gain),
                ]
            )
            outcome = given_back(forgotten, gain)
            verdicts.append(((data.title, label), outcome))
            if outcome == SUPPORTED:
                given.append(
                    f"On {data.title} ({label}), it gives back {number(gain.value)} of "
                    f"{number(-forgotten.value)}."
                )
    return Finding(
        "Does a cut adapter forget less?",
        verdicts,
        [
            "Questions about plain facts, and the perplexity of plain text, with the base model, "
            "the whole adapter, and the boundary at two thirds of the layers. A difference is "
            "positive where the first is better. Supported: the whole adapter has lost something, "
            "and the cut gives some of it back. Not supported: it has lost something, and the cut "
            "more. Nothing was forgotten: the whole adapter is shown to have gained. "
            f"These are {len(rows)} comparisons; of 20, one would be shown by chance alone.",
        ],
        ("adapter", "task", "documents", "base", "whole adapter − base", "cut − whole adapter"),
        rows,
        remark=" ".join(given),
    )


def given_back(forgotten: Value, gain: Value) -> str:
    """Return the verdict on a cut that may give back what the whole adapter has lost."""
    if forgotten.low > 0:
        return KEPT
    if forgotten.high < 0 and gain.low > 0:
        return SUPPORTED
    return NOT_SUPPORTED if forgotten.high < 0 and gain.high < 0 else OPEN


def _scored(seed: Seed, task: str) -> bool:
    return task in seed.steps["choose"]["control_tasks"]
