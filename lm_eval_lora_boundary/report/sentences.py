"""What a sweep found, in sentences that are true of every outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..stats.recommendation import LEVEL, refuted
from .data import BASE, Row, TaskFound
from .formatting import count, integer, interval, metric_name, number, p_value, runs, shows, signed


def advice(task: TaskFound, full: int | None) -> str:
    """Return what to do, in a few words.

    Args:
        task: The task.
        full: The boundary that keeps the whole adapter; None if it is not known.
    """
    if task.not_chosen is not None or _refuted(task):
        return f"Keep the whole adapter ({_boundary(full)})"
    if task.best == BASE:
        return "Use the base model alone (boundary −1)"
    if task.best == full:
        return f"Keep the whole adapter ({_boundary(full)})"
    layers = "layer 0" if task.best == 0 else f"layers 0 to {task.best}"
    return f"Keep {layers} (boundary {task.best})"


def finding(task: TaskFound, full: int | None) -> str:
    """Return why, to go on after the advice and a colon.

    Args:
        task: The task.
        full: The boundary that keeps the whole adapter; None if it is not known.
    """
    if task.not_chosen is not None:
        return f"{task.not_chosen}."
    split, documents, rows = _judged(task)
    best, whole = _row(rows, task.best), _row(rows, full)
    score = f"{metric_name(task.metric)} {number(best.value)}"
    if not task.higher_is_better:
        score += " (lower is better)"
    on = f"on {count(documents, split)}"
    if task.best == full:
        return f"{score} {on}. {_no_cut(task)}"
    if whole.value is None or best.delta_full is None:
        return f"{score} {on}. There is no score of the whole adapter to compare it with."
    if _refuted(task):
        chosen = count(task.documents, task.split)
        score = f"{_cut(task.best)}, the best on {chosen}, has {score}"
    return (
        f"{score} against {number(whole.value)} with the whole adapter {on}, "
        f"{_comparison(best.delta_full, best.ci_low, best.ci_high, best.p_value)}: "
        f"{_verdict(task, best)}."
    )


def caveats(task: TaskFound, full: int | None, race: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a reader of the finding must know, one or two sentences each.

    Args:
        task: The task.
        full: The boundary that keeps the whole adapter; None if it is not known.
        race: What ``sweep.json`` says about a race.
    """
    scored = {row.boundary for row in task.rows}
    dropped = [each["boundary"] for each in race.get("dropped") or ()]
    yield from _selection(task, full, {*dropped})
    smallest = task.row(task.smallest_equivalent)
    if smallest is not None and smallest.boundary != task.best:
        lost = ""
        if smallest.delta_full is not None and smallest.boundary != full:
            # not told apart is not proven equal
            difference = _comparison(smallest.delta_full, smallest.ci_low, smallest.ci_high, None)
            lost = f" ({difference} to the whole adapter)"
        yield (
            "The smallest cut scored that cannot be told from the best is "
            f"{_cut(smallest.boundary)}, "
            f"with {number(smallest.value)}{lost}."
        )
    yield from _adapter(task, full)
    yield from _collapse(task.collapsed)
    yield from _significance(task, full)
    if unscored := [boundary for boundary in dropped if boundary not in scored]:
        names = ", ".join(map(integer, unscored))
        yield (
            f"A race dropped {len(unscored)} of {len(scored | {*dropped})} boundaries before "
            f"they had answered all documents ({names}); they have no score here."
        )


def _judged(task: TaskFound) -> tuple[str | None, int | None, tuple[Row, ...]]:
    """Return the split, number of documents and rows that the sentences speak of."""
    if task.test is not None:
        return task.test.split, task.test.documents, task.test.rows
    return task.split, task.documents, task.rows


def _selection(task: TaskFound, full: int | None, dropped: set[int]) -> Iterator[str]:
    """Say how far the choice flatters the numbers; ``dropped``: by a race."""
    if task.test is not None:
        yield (
            f"Chosen on {count(task.documents, task.split)}, scored here on "
            f"{count(task.test.documents, task.test.split)} that the choice did not see."
        )
    elif not task.same_documents:
        yield "Chosen on other documents than these, so that the choice does not flatter it."
    elif len({row.boundary for row in task.rows} | dropped) > 1 and task.best != full:
        text = "Chosen and scored on the same documents, which makes it look better than it is"
        found = task.optimism
        if dropped:
            yield (
                f"{text}; by how much is not known, since a race ended before all boundaries had "
                "answered all documents. Confirm it on other documents."
            )
        elif found is None or found.value is None or found.corrected is None:
            if len({row.value for row in task.rows}) > 1:  # else nothing was chosen
                yield f"{text}, by how much is not known. Confirm it on other documents."
        elif shows(found.value):
            yield (
                f"{text}, by about {number(found.value)}: expect {number(found.corrected)} "
                "on other documents."
            )


def _collapse(worse: list[int]) -> Iterator[str]:
    """Say which boundaries are worse, of those that were scored."""
    spans = [str(a) if a == b else f"{a} to {b}" for a, b in runs(worse)]
    if len(worse) == 1:
        yield f"Boundary {worse[0]} is significantly worse than the whole adapter."
    elif len(spans) == 1:
        yield f"Every boundary from {spans[0]} is significantly worse than the whole adapter."
    elif spans:
        yield (
            f"Every boundary that was scored up to {worse[-1]} ({', '.join(spans)}) is "
            "significantly worse than the whole adapter."
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
    if tested and min(tested) >= LEVEL:
        yield (
            "No boundary that was scored differs significantly from the whole adapter, once "
            f"p-values are corrected for {len(tested)} comparisons (Holm)."
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
            "adapter, two documents or more, and a metric that can be computed for resampled "
            "documents in reasonable time."
        )
    elif others and all(row.ci_low is None for row in others):
        yield (
            "Intervals of differences are not available here: too few documents have other answers."
        )


def _no_cut(task: TaskFound) -> str:
    """Say that nothing beats the whole adapter."""
    others = len(task.rows) - 1
    if not others:
        return "No other boundary was scored."
    where = "" if task.test is None else f" on the {task.split or 'other'} documents"
    return (
        f"The other boundary did not score as well{where}."
        if others == 1
        else f"None of the {others} other boundaries scored as well{where}."
    )


def _refuted(task: TaskFound) -> bool:
    """Return whether the choice is significantly worse on documents that it did not see."""
    if task.test is None:
        return False
    best = _row(task.test.rows, task.best)
    return refuted(best.delta_full, best.p_value, higher_is_better=task.higher_is_better)


def _boundary(full: int | None) -> str:
    return "its last boundary" if full is None else f"boundary {full}"


def _cut(boundary: int) -> str:
    return "the base model (boundary −1)" if boundary == BASE else f"boundary {boundary}"


def _row(rows: tuple[Row, ...], boundary: int | None) -> Row:
    """Return the statistics at a boundary, empty ones if it was not scored."""
    empty = Row(BASE if boundary is None else boundary)
    return next((row for row in rows if row.boundary == boundary), empty)


def _comparison(delta: float | None, low: float | None, high: float | None, p: float | None) -> str:
    """Return a difference, its interval and its p-value, as far as they are available."""
    text = f"{signed(delta)} {interval(low, high)}".strip()
    return text if p is None else f"{text}, {p_value(p)}"


def _verdict(task: TaskFound, best: Row) -> str:
    """Say whether best and whole adapter can be told apart."""
    if best.delta_full == 0:
        return "the same score, from less of the adapter"
    p, corrected = best.p_value, ""
    if task.test is None and task.optimism is not None and task.optimism.p_value is not None:
        p = task.optimism.p_value
        corrected = f" ({p_value(p)} corrected for the choice)"
    if p is None or best.delta_full is None:
        return "whether that is more than chance cannot be tested here"
    if p >= LEVEL:
        return f"not distinguishable from the whole adapter{corrected}"
    better = (best.delta_full > 0) == task.higher_is_better
    return f"significantly {'better' if better else 'worse'} than the whole adapter{corrected}"
