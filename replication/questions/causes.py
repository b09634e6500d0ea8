"""Why a cut may help: regularisation, the format of answers, forgetting, and training itself."""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval_lora_boundary.report.formatting import integer, metric_name, number

from ..comparing import GOLD, Value, between, boundaries, difference, value
from ..cuts import NONE, WHOLE, boundary, two_thirds
from ..plan import CONTROLS, EARLIER, LOWER_LAYERS, RETENTION
from ..study import Seed, Study
from ..text import NOT_SUPPORTED, OPEN, SUPPORTED, Finding, change, each, shown, verdict

_FORMAT = {
    "gsm8k": ("exact_match,strict-match", "exact_match,flexible-extract"),
    "json": ("valid_json,none",),
}


def regularisation(study: Study) -> Finding:
    """Would a whole adapter that was trained with more regularisation do as well?"""
    rows, verdicts = [], []
    for name in (*(each_name for each_name in CONTROLS if each_name != LOWER_LAYERS), *EARLIER):
        for data, seeds in study.having("choose", "test", f"{name}-test"):
            gain, likelihood = _against(seeds, f"{name}-test", [seed.best() for seed in seeds])
            changed = " ".join(CONTROLS.get(name, (name.replace("=", " "), "of the same run")))
            rows.append([data.title, changed.lstrip("-"), change(gain), change(likelihood)])
            no_worse = SUPPORTED if gain.high < data.scale else OPEN
            verdicts.append((f"{data.title} ({name})", NOT_SUPPORTED if gain.low > 0 else no_worse))
    return Finding(
        "Is it regularisation?",
        verdicts,
        [
            "The best boundary of the ordinary adapter against a whole adapter that was trained on "
            "the same rows with one change: positive where the cut is better. Supported: the cut "
            "gains nothing that matters over it, so ordinary regularisation does as well.",
        ],
        ("data", "whole adapter, trained with", "first metric", "log-likelihood of the gold"),
        rows,
    )


def trained_below(study: Study) -> Finding:
    """Is a cut worth more than LoRA that was trained on the lower layers only?"""
    rows, verdicts = [], []
    for data, seeds in study.having(
        "choose", "test", f"{LOWER_LAYERS}-train", f"{LOWER_LAYERS}-test"
    ):
        last = [int(seed.steps[f"{LOWER_LAYERS}-train"]["settings"]["boundary"]) for seed in seeds]
        cuts = [boundary(k, seed.layers) for k, seed in zip(last, seeds, strict=True)]
        gain, likelihood = _against(seeds, f"{LOWER_LAYERS}-test", cuts)
        rows.append([data.title, each(cuts), change(gain), change(likelihood)])
        verdicts.append((data.title, verdict(gain, data.scale)))
    return Finding(
        "Is it better to train everywhere and cut than to train the lower layers only?",
        verdicts,
        ["Both keep the same layers; positive where the cut is better."],
        ("data", "layers kept", "first metric", "log-likelihood of the gold"),
        rows,
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
        tasks = [seed.task("choose") for seed in seeds]
        layers = seeds[0].layers
        names = boundaries(tasks[0], layers)
        for metric in _FORMAT.get(data.name, ()):
            numbers = sorted({*range(-1, layers, max(1, layers // 6)), layers - 1} & set(names))
            found = [value(tasks, metric, [names[k]] * len(seeds)) for k in numbers]
            cells = [number(each_found.value) for each_found in found]
            rows.append([data.title, metric_name(metric), *cells])
        if data.name == "json":
            lower = [two_thirds(layers)] * len(seeds)
            (valid,) = _FORMAT[data.name]
            lost = difference(tasks, valid, [WHOLE] * len(seeds), lower)
            verdicts.append((data.title, verdict(lost, data.scale)))
            losses.append(
                f"At two thirds of the layers, the share of valid JSON falls by {change(lost)}."
            )
    return Finding(
        "Does a strict format suffer?",
        verdicts,
        [
            "On the validation documents: GSM8K's answer after `####` against the last number of "
            "the response, and JSON that has the wanted keys and nothing else.",
            *losses,
        ],
        ("data", "metric", *(f"K = {integer(k)}" for k in numbers)),
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
        ("adapter", "task", "base", "whole adapter − base", "cut − whole adapter"),
        rows,
    )


def given_back(forgotten: Value, gain: Value) -> str:
    """Return the verdict on a cut that may give back what the whole adapter has lost."""
    if forgotten.high < 0 and gain.low > 0:
        return SUPPORTED
    return NOT_SUPPORTED if forgotten.low > 0 or gain.high < 0 else OPEN


def _scored(seed: Seed, task: str) -> bool:
    return task in seed.steps["choose"]["control_tasks"]
