"""Why a cut may help: regularisation, the format of answers, forgetting, and training itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lm_eval_lora_boundary.report.formatting import integer, metric_name, number

from ..comparing import Value, between, boundaries, difference, value
from ..cuts import NONE, RULE_OF_THUMB, WHOLE, at_share, boundary, two_thirds
from ..metrics import GOLD
from ..plan import CONTROLS, EARLIER, LOWER_LAYERS, RETENTION
from ..study import Seed, Study
from ..text import (
    NOT_SUPPORTED,
    OPEN,
    SUPPORTED,
    Finding,
    change,
    each,
    listed,
    shown,
    verdict,
)

NO_GAIN = "no gain of the cut is shown, so there is nothing to explain"
_FIRST_SEED = "The other adapters were trained with seed 0 only."
# metrics by data set, with what they count; the first is on the format alone
_FORMAT: Mapping[str, Mapping[str, str]] = {
    "gsm8k": {
        "matched,strict-match": "in the format",
        "exact_match,strict-match": "right, in the format",
        "exact_match,flexible-extract": "right, in any format",
    },
    "json": {"valid_json,none": "in the format"},
}


def regularisation(study: Study) -> Finding:
    """Would a whole adapter that was trained with more regularisation do as well?"""
    rows, verdicts = [], []
    for name in (*(each_name for each_name in CONTROLS if each_name != LOWER_LAYERS), *EARLIER):
        for data, seeds in study.having("choose", "test", f"{name}-test"):
            best, whole = [seed.best() for seed in seeds], [WHOLE] * len(seeds)
            gain, likelihood = _against(seeds, f"{name}-test", best)
            unchanged, _ = _against(seeds, f"{name}-test", whole)
            changed = " ".join(CONTROLS.get(name, (f"{name.replace('=', ' ')} of the same run",)))
            label = changed.lstrip("-")
            tests = [seed.task("test") for seed in seeds]
            explained = difference(tests, data.metrics[0], best, whole)
            cells = (change(gain), change(likelihood), change(unchanged))
            rows.append([data.title, label, each(best), *cells])
            verdicts.append((f"{data.title} ({name})", explains(explained, gain, data.scale)))
    return Finding(
        "Would more regularisation or earlier stopping do as well as the cut?",
        verdicts,
        [
            "The best boundary of the ordinary adapter, and then the whole of it, against the "
            "whole of an adapter that was trained on the same rows with one change: positive where "
            "the ordinary adapter is better. Supported: the cut is better than the whole adapter, "
            "and gains nothing that matters over the other adapter.",
            _FIRST_SEED,
        ],
        (
            *("data", "the other adapter", "best boundary", "against the other"),
            *("log-likelihood of the gold", "whole adapter against the other"),
        ),
        rows,
    )


def explains(gain: Value, over_other: Value, scale: float) -> str:
    """Return whether another training explains what a cut gains.

    Args:
        gain: How much better the cut is than its whole adapter.
        over_other: How much better it is than the other adapter.
        scale: The smallest gain that would matter.
    """
    if not gain.low > 0:
        return NO_GAIN
    if over_other.low > 0:
        return NOT_SUPPORTED
    return SUPPORTED if over_other.high < scale else OPEN


def trained_below(study: Study) -> Finding:
    """Is a cut worth more than LoRA that was trained on the lower layers only?"""
    rows, verdicts, cut_better, lower_better = [], [], [], []
    for data, seeds in study.having(
        "choose", "test", f"{LOWER_LAYERS}-train", f"{LOWER_LAYERS}-test"
    ):
        last = [int(seed.steps[f"{LOWER_LAYERS}-train"]["settings"]["boundary"]) for seed in seeds]
        cuts = [boundary(k, seed.layers) for k, seed in zip(last, seeds, strict=True)]
        gain, likelihood = _against(seeds, f"{LOWER_LAYERS}-test", cuts)
        rows.append([data.title, each(cuts), change(gain), change(likelihood)])
        verdicts.append((data.title, verdict(gain, data.scale)))
        if likelihood.low > 0:
            cut_better.append(data.title)
        if likelihood.high < 0:
            lower_better.append(data.title)
    return Finding(
        "Is it better to train everywhere and cut than to train the lower layers only?",
        verdicts,
        [
            "Both keep the same layers, up to the boundary that was best on the validation "
            "documents, or two thirds of them where that is the whole adapter or the base model. "
            "Positive where the cut of the adapter that was trained everywhere is better.",
            _FIRST_SEED,
        ],
        ("data", "layers kept", "first metric", "log-likelihood of the gold"),
        rows,
        remark=" ".join(
            f"By log-likelihood, {which} is better on {listed(titles)}."
            for which, titles in (
                ("training everywhere and cutting", cut_better),
                ("training the lower layers only", lower_better),
            )
            if titles
        ),
    )


def _against(seeds: Sequence[Seed], step: str, cuts: Sequence[str]) -> tuple[Value, Value]:
    """Return how much better cuts are than the whole of another adapter: metric and likelihood."""
    data = seeds[0].data
    whole = [WHOLE] * len(seeds)
    found = []
    for metric, task in ((data.metrics[0], data.task), (GOLD, data.gold_task)):
        mine = [seed.task("test", task) for seed in seeds]
        theirs = [seed.task(step, task) for seed in seeds]
        found.append(between((mine, cuts), (theirs, whole), metric))
    return found[0], found[1]


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
            verdicts.append((f"{data.title} ({words})", verdict(lost, data.scale)))
            parts.append(f"by {change(lost.times(-1))} at {words} of the layers")
        losses.append(f"On {data.title}, that share changes {listed(parts)}.")
    sentences = [
        "The table shows the validation documents. The verdict is on the test documents, at half "
        "and two thirds of the layers: supported if the share of answers in the right format "
        "falls. For GSM8K that is a number after `####`, for JSON an object that has the wanted "
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
            verdicts.append((f"{data.title} ({label})", given_back(forgotten, gain)))
    return Finding(
        "Does a cut adapter forget less?",
        verdicts,
        [
            "Questions about plain facts, and the perplexity of plain text, with the base model, "
            "the whole adapter, and the boundary at two thirds of the layers. A difference is "
            "positive where the first is better. Supported: the whole adapter has lost something, "
            "and the cut gives some of it back. Not supported: the whole adapter is shown to have "
            "gained, or the cut to have lost more.",
        ],
        ("adapter", "task", "documents", "base", "whole adapter − base", "cut − whole adapter"),
        rows,
    )


def given_back(forgotten: Value, gain: Value) -> str:
    """Return the verdict on a cut that may give back what the whole adapter has lost."""
    if forgotten.high < 0 and gain.low > 0:
        return SUPPORTED
    return NOT_SUPPORTED if forgotten.low > 0 or gain.high < 0 else OPEN


def _scored(seed: Seed, task: str) -> bool:
    return task in seed.steps["choose"]["control_tasks"]
