"""The result of a sweep in sentences that hold for every outcome.

In all functions, ``full`` is the boundary that keeps the whole adapter, or None if it is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .conclusions import Control
from .data import BASE, CutName, Family, TaskFound
from .formatting import (
    SIGNIFICANT,
    count,
    integer,
    interval,
    metric_name,
    named,
    number,
    percent,
    runs,
    short,
    shows,
    signed,
    what_is_kept,
)

# what is recommended, by what is shown for it: the question whose answer says so
_ANSWERED_BY = {
    "better than the whole adapter": "better_cut",
    "keeps the gain": "keeps_gain",
    "the adapter does harm": "adapter_helps",
}
# what holds for every sweep
READING = (
    "Intervals and p-values are about other documents like these, for this one adapter. Training "
    "again with another seed may change more than drawing other documents.",
    "The tests of differences assume that if two cuts are equally good, gains and losses of the "
    "same size are equally likely.",
    "Tests are corrected for the cuts of one task. They are not corrected for several tasks, for "
    "several metrics, or for trying other settings.",
)


def advice(task: TaskFound, full: int | None) -> str:
    """Return what to do, in a few words."""
    choice = task.choice
    if choice == full or task.choice_basis is None:
        boundary = "" if full is None else f" (boundary {full})"
        return f"Keep the whole adapter{boundary}"
    if isinstance(choice, str):
        return f"Keep {what_is_kept(choice)} (keep={choice})"
    if choice == BASE:
        return "Use the base model alone (boundary −1)"
    return f"Keep {what_is_kept(choice)} (boundary {choice})"


def finding(task: TaskFound) -> str:
    """Return why, to follow the advice and a colon."""
    if task.not_chosen is not None:
        return f"{task.not_chosen}."
    sentences = {answer.key: answer.sentence for answer in task.answers}
    if not sentences:
        return "another version wrote this sweep.json; run the sweep again to learn what it shows."
    if task.choice_basis is not None:
        sentence = sentences[_ANSWERED_BY[task.choice_basis]].removeprefix("Yes: ")
        sentence = sentence.replace("No, it does harm: ", "the adapter does harm: ")
        return f"{sentence[:1].lower()}{sentence[1:]}"
    return f"{task.choice_reason or 'nothing is shown for a cut'}."


def what_was_scored(task: TaskFound) -> str:
    """Return what was scored, on what, and by which metric was chosen."""
    direction = "higher" if task.higher_is_better else "lower"
    others = len(task.all_rows) - len(task.rows)
    more = f" and {others} other {'cut' if others == 1 else 'cuts'}" if others else ""
    return (
        f"{len(task.rows)} {'boundary' if len(task.rows) == 1 else 'boundaries'}{more} on "
        f"{count(task.documents, task.split)}, chosen by {metric_name(task.metric)} "
        f"({direction} is better)"
    )


def caveats(task: TaskFound, full: int | None, race: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a reader of the finding must know, one or two sentences each."""
    scored = task.all_rows.keys()
    dropped = [_name(each) for each in race.get("dropped") or ()]
    yield from _selection(task, full, {*dropped})
    yield from _stability(task, full)
    yield from _collapse(task.collapsed)
    yield from _significance(task, full)
    if task.clusters is not None:
        values = "value" if task.clusters.count == 1 else "values"
        yield (
            f"Documents that belong together were drawn together: {task.clusters.count:,} {values} "
            f"of {task.clusters.field}."
        )
    if unscored := [name for name in dropped if name not in scored]:
        names = ", ".join(
            str(name) if isinstance(name, str) else integer(name) for name in unscored
        )
        others = task.families or any(isinstance(each, str) for each in dropped)
        yield (
            f"A race dropped {len(unscored)} of {len(scored | {*dropped})} "
            f"{'cuts' if others else 'boundaries'} before they had answered all documents "
            f"({names}); they have no score here."
        )


def control_sentences(controls: Iterable[Control]) -> list[str]:
    """Return how other families compare with the boundaries; first those that score as well."""
    found = sorted(controls, key=lambda control: not control.as_good)
    texts = [control.sentence.strip() for control in found]
    return [f"{text[:1].upper()}{text[1:].rstrip('.')}." for text in texts if text]


def family_summary(task: TaskFound, family: Family, full: int | None) -> str:
    """Return how many cuts a family has, and the best of them."""
    cuts = "1 cut" if len(family.cuts) == 1 else f"{len(family.cuts)} cuts"
    best = family.best(task.higher_is_better)
    if best is None:
        return cuts
    name = short(named(best.name, full), 40)
    name = f"the {name}" if best.name in (BASE, full) else name
    text = f"{cuts}, the best is {name} with {number(best.value)}"
    if best.delta_full is None:
        return text
    difference = f"{signed(best.delta_full)} {interval(best.ci_low, best.ci_high)}".strip()
    return f"{text} ({difference} to the whole adapter)"


def _selection(task: TaskFound, full: int | None, dropped: set[CutName]) -> Iterator[str]:
    """Say how much the choice inflates its own score; ``dropped``: by a race."""
    if task.test is not None:
        yield (
            f"Chosen on {count(task.documents, task.split)}, tested on "
            f"{count(task.test.documents, task.test.split)}, which had no part in the choice."
        )
        return
    if not task.same_documents:
        yield "Chosen on other documents than these, so the choice does not inflate these scores."
        return
    rows = task.all_rows
    if task.best == full or len(rows.keys() | dropped) == 1:
        return
    text = f"The score of {_cut(task.best)} is inflated, because it was chosen on these documents"
    optimism = task.optimism
    if dropped:
        cuts = "cuts" if task.families else "boundaries"
        yield (
            f"{text}; by how much is not known, since a race ended before all {cuts} had "
            "answered all documents. Confirm it on other documents."
        )
    elif optimism is None or optimism.value is None or optimism.corrected is None:
        if len({row.value for row in rows.values()}) > 1:  # else nothing was chosen
            yield f"{text}; by how much is not known. Confirm it on other documents."
    elif shows(optimism.value):
        yield (
            f"{text}: expect about {number(optimism.corrected)} on other documents "
            f"({number(optimism.value)} is luck, as random halves of these suggest)."
        )


def _stability(task: TaskFound, full: int | None) -> Iterator[str]:
    """Say how often the best cut would be chosen again."""
    row = task.row(task.best)
    if row is None or row.selection_share is None or len(task.all_rows) < 2 or task.not_chosen:
        return
    name = "the whole adapter" if task.best == full else _cut(task.best)
    yield (
        f"When {name} is best on a random half of the {count(task.documents, task.split)}, it is "
        f"best on the other half too in {percent(row.selection_share)} of the cases (a tie counts "
        "in part)."
    )


def _collapse(worse: list[int]) -> Iterator[str]:
    """Say which of the scored boundaries are worse."""
    spans = [str(a) if a == b else f"{a} to {b}" for a, b in runs(worse)]
    if len(worse) == 1:
        yield f"Boundary {worse[0]} is significantly worse than the whole adapter."
    elif len(spans) == 1:
        yield f"Every boundary from {spans[0]} is significantly worse than the whole adapter."
    elif spans:
        yield (
            f"Every scored boundary up to {worse[-1]} ({', '.join(spans)}) is significantly worse "
            "than the whole adapter."
        )


def _significance(task: TaskFound, full: int | None) -> Iterator[str]:
    """Say if nothing is significant, or if that cannot be known."""
    others = [row for row in task.rows if row.boundary != full]
    tested = [row.p_simultaneous for row in others if row.p_simultaneous is not None]
    if tested and min(tested) > SIGNIFICANT and task.not_chosen is None:
        yield (
            "No scored boundary differs significantly from the whole adapter, once p-values are "
            "corrected for all comparisons (max-T)."
            if len(tested) > 1
            else "The difference to the whole adapter is not significant."
        )
    if task.not_chosen is not None and any(row.delta_full is None for row in others):
        yield (
            "Differences, intervals and p-values are not available where a boundary was scored "
            "on other documents than the one it is compared with."
        )
    elif others and not tested:
        yield (
            "Intervals and p-values of differences are not available here: they need the whole "
            "adapter, at least two documents, and a metric that can be computed on resampled "
            "documents in reasonable time."
        )
    elif others and all(row.ci_low is None for row in others):
        yield (
            "Intervals of differences are not available here: too few documents have different "
            "answers."
        )


def _cut(name: CutName) -> str:
    if isinstance(name, str):
        return f"the cut keep={name}"
    return "the base model (boundary −1)" if name == BASE else f"boundary {name}"


def _name(dropped: Mapping[str, Any]) -> CutName:
    """Return what the sweep calls a cut that a race dropped."""
    boundary: int | None = dropped.get("boundary")
    return str(dropped["cut"]) if boundary is None else boundary
