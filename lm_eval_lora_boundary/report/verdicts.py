"""What the tests show about each cut of a table, in a word or two."""

from __future__ import annotations

from collections.abc import Sequence

from .data import BASE, CutName, Row, TaskFound
from .formatting import SIGNIFICANT

BETTER, WORSE, KEEPS = "better", "worse", "keeps the gain"
NOT_SHOWN, NOT_CONFIRMED = "not shown", "not confirmed"
MEANING = (
    "“better” or “worse” than the whole adapter, corrected for all cuts; “keeps the gain”: shown "
    "to lose less than the margin; “not shown”: these documents cannot tell"
)
CONFIRMED = "; “not confirmed”: the other split does not show it"


def verdicts(task: TaskFound, rows: Sequence[Row], full: int | None) -> dict[CutName, str]:
    """Return the verdict on every cut of some rows but the whole adapter, where there is one.

    Args:
        task: The task.
        rows: Those of the task, of a family, or of the test split.
        full: The boundary that keeps the whole adapter, if known.
    """
    if task.not_chosen is not None:
        return {}
    test = task.test
    if test is not None and rows is test.rows:
        return {row.name: verdict for row in rows if (verdict := _tested(task, row, full))}
    tested = {} if test is None else {row.name: _tested(task, row, full) for row in test.rows}
    found = {}
    for row in rows:
        verdict = _verdict(task, row, full, task.kept_here or task.noninferior)
        good = verdict in (BETTER, KEEPS) and row.name != BASE
        if good and tested.get(row.name, verdict) not in (BETTER, KEEPS):
            verdict = NOT_CONFIRMED
        if verdict is not None:
            found[row.name] = verdict
    return found


def _tested(task: TaskFound, row: Row, full: int | None) -> str | None:
    """Return what the test split shows about a cut that may be recommended."""
    # the best one is the only one that is tested for being better, so nothing is corrected for
    p_value = row.p_value if row.name == task.best else row.p_simultaneous
    return _verdict(task, row, full, task.noninferior, p_value)


def _verdict(
    task: TaskFound,
    row: Row,
    full: int | None,
    keeping: Sequence[CutName],
    p_value: float | None = None,
) -> str | None:
    """Return the verdict that a p-value, corrected by default, and non-inferiority give."""
    if row.name == full or row.delta_full is None:
        return None
    p_value = row.p_simultaneous if p_value is None else p_value
    if row.name == BASE:  # the first question, which is asked once
        p_value = row.p_value
    significant = p_value is not None and p_value <= SIGNIFICANT
    if significant and (row.delta_full > 0) == task.higher_is_better:
        return BETTER
    if row.name in keeping:
        return KEEPS
    if significant or row.boundary in task.collapsed:
        return WORSE
    return None if p_value is None else NOT_SHOWN
