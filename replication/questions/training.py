"""Whether another training would do as well as a cut."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

from ..comparing import Value, between, difference
from ..cuts import NONE, WHOLE, boundary
from ..metrics import GOLD
from ..plan import CONTROLS, EARLIER, LOWER_LAYERS, in_words
from ..study import Seed, Study
from ..text import NOT_SUPPORTED, OPEN, SUPPORTED, Finding, change, each, listed, verdict

NO_GAIN = "no gain of the cut is shown, so there is nothing to explain"
_EVERYWHERE = "training everywhere and cutting"
_BELOW = "training the lower layers only"
_FIRST_SEED = "The other adapters were trained with seed 0 only."


def regularisation(study: Study) -> Finding:
    """Would a whole adapter that was trained with more regularisation do as well?"""
    rows, verdicts = [], []
    for name in (*(each_name for each_name in CONTROLS if each_name != LOWER_LAYERS), *EARLIER):
        for data, seeds in study.having("choose", "test", f"{name}-test"):
            best, whole = [seed.best() for seed in seeds], [WHOLE] * len(seeds)
            gain, likelihood = _against(seeds, f"{name}-test", best)
            unchanged, same = _against(seeds, f"{name}-test", whole)
            words = in_words(name)
            label = " ".join([words, *CONTROLS.get(name, ("", "of the same run"))[1:]])
            tests = [seed.task("test") for seed in seeds]
            explained = difference(tests, data.metrics[0], best, whole)
            cells = (change(gain), change(likelihood), change(unchanged), change(same))
            rows.append([data.title, label, each(best), *cells])
            verdicts.append(((data.title, words), explains(explained, gain, data.scale)))
    return Finding(
        "Would more regularisation or earlier stopping do as well as the cut?",
        verdicts,
        [
            "The best boundary of the ordinary adapter, and then the whole of it, against the "
            "whole of an adapter that was trained on the same rows with one change: positive where "
            "the ordinary adapter is better. Supported: the cut is better than the whole adapter, "
            "and gains nothing that matters over the other adapter.",
            _FIRST_SEED,
            *_decay(study),
            *_between_runs(study, [*CONTROLS, *EARLIER]),
        ],
        (
            *("data", "the other adapter", "best boundary"),
            *("against the other", "the same, log-likelihood"),
            *("whole adapter against the other", "the same, log-likelihood"),
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
    rows, verdicts = [], []
    # where cutting is better by the first metric, the verdict says so
    better: dict[str, list[str]] = {
        f"By the first metric, {_BELOW}": [],
        f"By log-likelihood, {_EVERYWHERE}": [],
        f"By log-likelihood, {_BELOW}": [],
    }
    for data, seeds in study.having(
        "choose", "test", f"{LOWER_LAYERS}-train", f"{LOWER_LAYERS}-test"
    ):
        last = [int(seed.steps[f"{LOWER_LAYERS}-train"]["settings"]["boundary"]) for seed in seeds]
        cuts = [boundary(k, seed.layers) for k, seed in zip(last, seeds, strict=True)]
        gain, likelihood = _against(seeds, f"{LOWER_LAYERS}-test", cuts)
        rows.append([data.title, each(cuts), change(gain), change(likelihood)])
        verdicts.append((data.title, verdict(gain, data.scale)))
        here = (gain.high < 0, likelihood.low > 0, likelihood.high < 0)
        for titles in compress(better.values(), here):
            titles.append(data.title)
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
            f"{which} is better on {listed(titles)}." for which, titles in better.items() if titles
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


def _decay(study: Study) -> list[str]:
    """Return what weight decay can do at most in so few steps.

    AdamW multiplies weights by 1 - learning rate * weight decay in each step (Loshchilov
    and Hutter, arXiv 1711.05101, algorithm 2), and the learning rate never exceeds what was set.
    """
    shares = []
    for _, seeds in study.having("weight-decay-train"):
        for record in (seed.steps["weight-decay-train"] for seed in seeds):
            if "steps" in record:
                settings = record["settings"]
                shares.append(settings["lr"] * settings["weight_decay"] * record["steps"])
    if not shares:
        return []
    return [
        f"Weight decay shrinks weights by {100 * max(shares):.1g} % at most in so few steps, so "
        "that row says little about regularisation."
    ]


def _between_runs(study: Study, names: Sequence[str]) -> list[str]:
    """Return how far two runs differ on the base model, which is the same in both."""
    answers, apart, precisions = [], [], set()
    for name in names:
        for data, seeds in study.having("test", f"{name}-test"):
            for seed in seeds:
                mine, theirs = (
                    seed.task(step)["responses"][NONE] for step in ("test", f"{name}-test")
                )
                other = sum(a != b for a, b in zip(mine, theirs, strict=True))
                answers.append((other / len(mine), f"{other} of its {len(mine)} answers"))
                precisions.add(seed.steps["train"]["settings"]["dtype"])
                golds = [
                    seed.task(step, data.gold_task)["metrics"][GOLD]["cuts"][NONE]["value"]
                    for step in ("test", f"{name}-test")
                ]
                apart.append(abs(golds[0] - golds[1]))
    if not answers or not max(answers)[0]:
        return []
    return [
        "No comparison of two runs is more exact than what they say of the base model, which is "
        f"the same in both: in {listed(sorted(precisions))}, up to {max(answers)[1]} differ, and "
        f"its mean log-likelihood differs by up to {max(apart):.2g} nats."
    ]
