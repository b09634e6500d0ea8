"""What to do after a sweep, with the commands for it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from .command import Command, safe, sweep_command
from .data import BASE, SweepFound, TaskFound
from .formatting import count
from .headline import judged_on


@dataclass(frozen=True)
class Step:
    """A thing to do, and the command that does it, if there is one."""

    text: str
    command: Command | None = None


def next_steps(found: SweepFound, task: TaskFound, full: int | None) -> list[Step]:
    """Return what to do next; ``full`` is the boundary that keeps the whole adapter, if known."""
    return list(_steps(found, task, full))


def _steps(found: SweepFound, task: TaskFound, full: int | None) -> Iterator[Step]:
    if task.not_chosen is not None and task.clusters is not None and task.clusters.count == 1:
        yield Step(
            "Score more documents, so that more than one cluster is among them, or treat each as "
            "unrelated to the others with --cluster none."
        )
    elif task.not_chosen is not None:
        yield Step(
            "Compare some answers with the gold answers. If they look right and count as "
            "wrong, check the metric, its filter, the stop strings and the chat template."
        )
    elif not task.answers:
        again = sweep_command(found.settings, found.folder)
        yield Step("Run the sweep again. It resumes from the answers that are stored.", again)
    elif task.choice_basis is None or task.choice == full:
        yield from _whole_adapter(found, task)
    elif task.choice == BASE:
        yield Step(
            "There is nothing to export. If you did not expect this, check that prompts and chat "
            "template are those that the adapter was trained with."
        )
    else:
        yield Step("Write this cut as an ordinary PEFT adapter.", export_command(found, task))


def _whole_adapter(found: SweepFound, task: TaskFound) -> Iterator[Step]:
    """Say how many documents would settle it."""
    documents = judged_on(task)[1]
    keeps = task.answer("keeps_gain")
    needed = None if keeps is None else keeps.documents_needed
    helps = task.answer("adapter_helps")
    if helps is not None and not helps.shown:
        yield Step(
            "First see whether the adapter helps at all: read where its answers differ from those "
            "of the base model, or score more documents."
        )
    elif needed is None or documents is None:
        yield Step("Score more documents, or allow a larger margin.")
    elif needed > documents:
        wanted = _rounded(needed)
        changed = {"limit": wanted}
        command = sweep_command(found.settings, f"{found.folder}-{wanted}", changed)
        yield Step(
            f"Score more documents, if the task has them: about {count(needed)} would usually "
            "show that a cut is as good, if it is.",
            command,
        )
    else:
        yield Step(
            f"Nothing: {count(documents)} would usually show that a cut is as good, if it were "
            "(see the last question), so these cuts probably lose more than the margin allows."
        )


def export_command(found: SweepFound, task: TaskFound) -> Command | None:
    """Return the command that writes the recommended cut of a task."""
    adapter = PurePath(str(found.settings.get("peft") or "adapter")).name or "adapter"
    parts = ["lora-boundary export", f"--from {shlex.quote(found.folder)}"]
    if len(found.tasks) > 1:
        parts.append(f"--task {shlex.quote(task.name)}")
    return safe(*parts, shlex.quote(f"{adapter}-{task.choice}"))


def _rounded(documents: int) -> int:
    """Round up to two digits, since the number is an estimate."""
    step = int(10 ** max(0, len(str(documents)) - 2))
    return -(-documents // step) * step
