"""The result of a sweep in sentences that hold for every outcome.

In all functions, ``full`` is the boundary that keeps the whole adapter, or None if it is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .data import BASE, Control, CutName, Family, Row, TaskFound
from .formatting import (
    SIGNIFICANT,
    count,
    integer,
    interval,
    metric_name,
    named,
    number,
    p_value,
    runs,
    short,
    shows,
    signed,
    what_is_kept,
)


def advice(task: TaskFound, full: int | None) -> str:
    """Return what to do, in a few words."""
    choice = task.choice
    if choice == full or choice != task.best or task.not_chosen is not None:
        return f"Keep the whole adapter (boundary {choice})"
    if isinstance(choice, str):
        return f"Keep {what_is_kept(choice)} (keep={choice})"
    if choice == BASE:
        return "Use the base model alone (boundary −1)"
    return f"Keep {'layer 0' if choice == 0 else f'layers 0 to {choice}'} (boundary {choice})"


def finding(task: TaskFound, full: int | None) -> str:
    """Return why, to follow the advice and a colon."""
    if task.not_chosen is not None:
        return f"{task.not_chosen}."
    split, documents, rows = _judged(task)
    best, whole = _best_row(task), _row(rows, full)
    score = f"{metric_name(task.metric)} {number(best.value)}"
    if not task.higher_is_better:
        score += " (lower is better)"
    on = f"on {count(documents, split)}"
    if task.best == full:
        return f"{score} {on}. {_no_cut(task)}"
    if whole.value is None or best.delta_full is None:
        return f"{score} {on}. There is no score of the whole adapter to compare it with."
    if task.choice != task.best:
        chosen = count(task.documents, task.split)
        score = f"{_cut(task.best)}, the best on {chosen}, has {score}"
    return (
        f"{score} against {number(whole.value)} with the whole adapter {on}, "
        f"{_comparison(best.delta_full, best.ci_low, best.ci_high, best.p_value)}: "
        f"{_verdict(task, best, full)}."
    )


def caveats(task: TaskFound, full: int | None, race: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a reader of the finding must know, one or two sentences each."""
    scored = task.all_rows.keys()
    dropped = [_name(each) for each in race.get("dropped") or ()]
    yield from _selection(task, full, {*dropped})
    smallest = task.row(task.smallest_equivalent)
    if smallest is not None and smallest.boundary != task.best:
        lost = ""
        if smallest.delta_full is not None and smallest.boundary != full:
            # not significantly worse does not mean equal
            difference = _comparison(smallest.delta_full, smallest.ci_low, smallest.ci_high, None)
            lost = f" ({difference} to the whole adapter)"
        yield (
            "The smallest scored cut that is not significantly worse than the best is "
            f"{_cut(smallest.name)}, with {number(smallest.value)}{lost}."
        )
    yield from _adapter(task, full)
    yield from _collapse(task.collapsed)
    yield from _significance(task, full)
    if unscored := [name for name in dropped if name not in scored]:
        names = ", ".join(
            str(name) if isinstance(name, str) else integer(name) for name in unscored
        )
        kind = (
            "cuts"
            if task.families or any(isinstance(each, str) for each in dropped)
            else "boundaries"
        )
        yield (
            f"A race dropped {len(unscored)} of {len(scored | {*dropped})} {kind} before "
            f"they had answered all documents ({names}); they have no score here."
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
    difference = _comparison(best.delta_full, best.ci_low, best.ci_high, None)
    return f"{text} ({difference} to the whole adapter)"


def _judged(task: TaskFound) -> tuple[str | None, int | None, tuple[Row, ...]]:
    """Return the split, number of documents and rows that the sentences are about."""
    judged = task if task.test is None else task.test
    return judged.split, judged.documents, judged.rows


def _best_row(task: TaskFound) -> Row:
    """Return the statistics of the best cut that the sentences are about."""
    if task.test is not None:
        return _row(task.test.rows, task.best)
    return task.row(task.best) or Row(None)


def _selection(task: TaskFound, full: int | None, dropped: set[CutName]) -> Iterator[str]:
    """Say how much the choice inflates its own score; ``dropped``: by a race."""
    if task.test is not None:
        yield (
            f"Chosen on {count(task.documents, task.split)}, scored here on "
            f"{count(task.test.documents, task.test.split)} that were not used to choose."
        )
        return
    if not task.same_documents:
        yield "Chosen on other documents than these, so the choice does not inflate these scores."
        return
    rows = task.all_rows
    if task.best == full or len(rows.keys() | dropped) == 1:
        return
    text = "Chosen and scored on the same documents, which makes it look better than it is"
    optimism = task.optimism
    if dropped:
        cuts = "cuts" if task.families else "boundaries"
        yield (
            f"{text}; by how much is not known, since a race ended before all {cuts} had "
            "answered all documents. Confirm it on other documents."
        )
    elif optimism is None or optimism.value is None or optimism.corrected is None:
        if len({row.value for row in rows.values()}) > 1:  # else nothing was chosen
            yield f"{text}, by how much is not known. Confirm it on other documents."
    elif shows(optimism.value):
        yield (
            f"{text}, by about {number(optimism.value)}: expect {number(optimism.corrected)} on "
            "other documents."
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


def _adapter(task: TaskFound, full: int | None) -> Iterator[str]:
    """Say what the whole adapter does to the base model."""
    _, _, rows = _judged(task)
    whole, base = _row(rows, full), _row(rows, BASE)
    if whole.value is None or base.value is None or BASE in (full, task.best):
        return
    text = f"The base model alone scores {number(base.value)}"
    if whole.delta_base is not None:
        text += "; the whole adapter changes that by " + _comparison(
            whole.delta_base, whole.base_ci_low, whole.base_ci_high, whole.base_p_value
        )
    yield f"{text}."


def _significance(task: TaskFound, full: int | None) -> Iterator[str]:
    """Say if nothing is significant, or if that cannot be known."""
    others = [row for row in task.rows if row.boundary != full]
    tested = [row.p_holm for row in others if row.p_holm is not None]
    if tested and min(tested) > SIGNIFICANT:
        yield (
            "No scored boundary differs significantly from the whole adapter, once p-values are "
            f"corrected for {len(tested)} comparisons (Holm)."
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


def _no_cut(task: TaskFound) -> str:
    """Say that no other boundary beats the whole adapter."""
    others = len(task.all_rows) - 1
    one, several = ("cut", "cuts") if task.families else ("boundary", "boundaries")
    if not others:
        return f"No other {one} was scored."
    where = "" if task.test is None else f" on the {task.split or 'other'} documents"
    return (
        f"The other {one} did not score as well{where}."
        if others == 1
        else f"None of the {others} other {several} scored as well{where}."
    )


def _cut(name: CutName) -> str:
    if isinstance(name, str):
        return f"the cut keep={name}"
    return "the base model (boundary −1)" if name == BASE else f"boundary {name}"


def _name(dropped: Mapping[str, Any]) -> CutName:
    """Return what the sweep calls a cut that a race dropped."""
    boundary: int | None = dropped.get("boundary")
    return str(dropped["cut"]) if boundary is None else boundary


def _row(rows: tuple[Row, ...], name: CutName | None) -> Row:
    """Return the statistics of a cut, empty ones if it was not scored."""
    return next((row for row in rows if row.name == name), Row(None))


def _comparison(delta: float | None, low: float | None, high: float | None, p: float | None) -> str:
    """Return a difference, with its interval and p-value if they are available."""
    text = f"{signed(delta)} {interval(low, high)}".strip()
    return text if p is None else f"{text}, {p_value(p)}"


def _is_smaller(row: Row, full: int | None) -> bool:
    """Return whether a cut drops layers of the adapter."""
    return row.kept_layers is not None and (full is None or row.kept_layers <= full)


def _verdict(task: TaskFound, best: Row, full: int | None) -> str:
    """Say whether the best boundary and the whole adapter differ."""
    if best.delta_full == 0:
        return "the same score" + (", with a smaller adapter" if _is_smaller(best, full) else "")
    p, corrected = best.p_value, ""
    if task.test is None and task.optimism is not None and task.optimism.p_value is not None:
        p = task.optimism.p_value
        corrected = f" ({p_value(p)} corrected for the choice)"
    if p is None or best.delta_full is None:
        return "whether that is more than chance cannot be tested here"
    if p > SIGNIFICANT:
        return f"not significantly different from the whole adapter{corrected}"
    better = (best.delta_full > 0) == task.higher_is_better
    return f"significantly {'better' if better else 'worse'} than the whole adapter{corrected}"
