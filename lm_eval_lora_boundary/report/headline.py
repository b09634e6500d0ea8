"""The verdict on a task in one sentence without statistics, and the scores that go with it."""

from __future__ import annotations

from .data import BASE, CutName, Row, TaskFound
from .formatting import count, named, number, what_is_kept
from .size import fewer


def headline(task: TaskFound, full: int | None) -> str:
    """Return the verdict; ``full`` is the boundary that keeps the whole adapter, if known."""
    if task.not_chosen is not None:
        return f"No verdict: {task.not_chosen}."
    if not task.answers:
        return "No verdict: another version wrote this sweep. Run it again to learn what it shows."
    choice, basis = task.choice, task.choice_basis
    if basis is None or choice == full:
        return f"Keep the whole adapter: {_why_whole(task)}."
    if basis == "the adapter does harm":
        return "Use the base model alone: the adapter does harm."
    cut = "the base model alone" if choice == BASE else what_is_kept(choice)
    singular = not cut.startswith(("layers", "no ")) and not cut.endswith("layers")
    cut = f"{cut[:1].upper()}{cut[1:]}"
    end = "" if choice == BASE else fewer(task, choice, full)
    if basis == "better than the whole adapter":
        return f"{cut} score{'s' * singular} better than the whole adapter{end}."
    return f"{cut} keep{'s' * singular} what the adapter gained{end}."


def _why_whole(task: TaskFound) -> str:
    """Return why the whole adapter stays."""
    documents = count(judged_on(task)[1])
    helps, keeps = task.answer("adapter_helps"), task.answer("keeps_gain")
    if helps is not None and not helps.shown:
        return f"{documents} cannot even show that it helps"
    needed, found = None if keeps is None else keeps.documents_needed, judged_on(task)[1]
    if needed is not None and found is not None and needed <= found:
        return f"no cut is shown to be as good on {documents}"
    return f"{documents} cannot show that a cut is as good"


def judged_on(task: TaskFound) -> tuple[str | None, int | None]:
    """Return name and number of the documents that the questions are answered on."""
    if task.test is not None:
        return task.test.split, task.test.documents
    return task.split, task.documents


def scores(task: TaskFound, full: int | None) -> list[tuple[str, str, bool]]:
    """Return what base model, recommended cut and whole adapter score, and which is recommended."""
    rows = task.all_rows if task.test is None else {row.name: row for row in task.test.rows}
    names: list[CutName | None] = [BASE, task.choice, full]
    found = []
    for name in dict.fromkeys(names):
        row: Row | None = None if name is None else rows.get(name)
        if row is not None and row.value is not None and name is not None:
            label = named(name, full) if name in (BASE, full) else what_is_kept(name)
            recommended = name == task.choice and task.not_chosen is None
            found.append((label, number(row.value), recommended))
    return found
