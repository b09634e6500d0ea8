"""Folders of sweeps among results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import CONFIRMED, SWEEP, boundary_folder
from .locate import read_json
from .runs import Run, newest


@dataclass(frozen=True)
class Sweep:
    """A sweep on disk.

    Attributes:
        folder: Its folder.
        settings: What was asked for.
        tasks: What was found, by task.
    """

    folder: Path
    settings: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]]

    def run(self, boundary: int, confirmed: str | None = None) -> Run | None:
        """Return the results of a boundary, None if they are not there.

        Args:
            boundary: The boundary.
            confirmed: A task, for its results on documents that it was not chosen by.
        """
        folder = self.folder if confirmed is None else self.folder / CONFIRMED / confirmed
        files = boundary_folder(folder, boundary).glob("results_*.json")
        runs, _ = newest(sorted(files, reverse=True))
        return runs[0] if runs else None

    def boundaries(self, task: str) -> list[int]:
        """Return the boundaries that a task was scored at."""
        return [row["boundary"] for row in self.tasks[task]["boundaries"]]

    def layers(self) -> int | None:
        """Return the number of layers, None if no results file is left that tells."""
        for boundary in dict.fromkeys(b for task in self.tasks for b in self.boundaries(task)):
            run = self.run(boundary)
            if run is not None and run.layers is not None:
                return run.layers
        return None


def read_sweep(folder: Path) -> Sweep:
    """Read ``sweep.json``.

    Raises:
        OutputError: It cannot be read, or is not of a sweep that has ended.
    """
    file = folder / SWEEP
    content = read_json(file)
    tasks = content.get("tasks")
    complete = isinstance(tasks, dict) and all(map(_complete, tasks.values()))
    if not tasks or not complete:
        raise OutputError(
            f"{file} lacks tasks with their metric, boundaries and best: it is not from "
            "`lora-boundary sweep`, or from another version; run the sweep again"
        )
    settings = content.get("settings")
    return Sweep(folder, settings if isinstance(settings, dict) else {}, tasks)


def _complete(found: Any) -> bool:
    """Tell whether what a sweep says about a task is there and of the right kind."""
    if not isinstance(found, dict) or not isinstance(found.get("metric"), str):
        return False
    rows = found.get("boundaries")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return False
    numbers = [value for row in rows for value in (row.get("value"), row.get("win_rate"))]
    whole = [row.get("boundary") for row in rows]
    optional = [found.get(name) for name in ("smallest_equivalent", "documents")]
    return (
        all("value" in row for row in rows)
        and all(value is None or isinstance(value, (int, float)) for value in numbers)
        and all(isinstance(value, int) for value in whole)
        and all(value is None or isinstance(value, int) for value in optional)
        and found.get("best") in whole
    )


def representatives(sweep: Sweep) -> tuple[list[Run], list[str]]:
    """Return what stands for a sweep: the base model, the tasks' best boundaries, all of LoRA.

    Where a sweep has evaluated its choice on documents that it was not chosen by, these results
    count.

    Returns:
        Their runs, and lines about what is missing or to be careful with.

    Raises:
        OutputError: The folder holds the results of none of them.
    """
    warnings = []
    runs = []
    confirmed = {task for task, found in sweep.tasks.items() if found.get("test")}
    groups: set[str] = set()
    for boundary, role in sorted(_roles(sweep).items()):
        parts = _parts(sweep, boundary, confirmed)
        whole = sweep.run(boundary)
        groups |= set() if whole is None else _mixed(whole, confirmed)
        if parts:
            subtasks = parts[0].subtasks if whole is None else whole.subtasks
            files = tuple(file for part in parts for file in part.files)
            tasks = {task: result for part in parts for task, result in part.tasks.items()}
            runs.append(
                replace(
                    parts[0],
                    files=files,
                    tasks=tasks,
                    subtasks=subtasks,
                    role=role,
                    sweep=sweep.folder,
                )
            )
        else:
            warnings.append(f"{sweep.folder} has no results of boundary={boundary} ({role})")
    if not runs:
        raise OutputError(
            f"{sweep.folder} holds {SWEEP}, but no results in boundary=K/; run the sweep again"
        )
    if groups:
        warnings.append(
            f"{sweep.folder}: {', '.join(sorted(groups))} is left out: its value is of the "
            "documents that tasks in it were chosen by, not of those that they were confirmed on"
        )
    for task, found in sweep.tasks.items():
        if why := found.get("not_chosen"):
            warnings.append(f"{sweep.folder}: no boundary was chosen on {task}: {why}")
    unconfirmed = [
        task
        for task, found in sweep.tasks.items()
        if not found.get("test") and not found.get("not_chosen")
    ]
    if unconfirmed:
        warnings.append(
            f"{sweep.folder}: the best boundary was chosen on these very documents of "
            f"{', '.join(unconfirmed)}; there it looks better than it is"
        )
    return runs, warnings


def _roles(sweep: Sweep) -> dict[int, str]:
    """Return what boundaries stand for: ``base``, ``best``, ``full``."""
    roles = {-1: ["base"]}
    bests: dict[int, list[str]] = {}
    for task, found in sweep.tasks.items():
        if not found.get("not_chosen"):
            bests.setdefault(found["best"], []).append(task)
    for boundary, tasks in bests.items():
        said = "best" if len(bests) == 1 else f"best of {', '.join(tasks)}"
        roles.setdefault(boundary, []).append(said)
    layers = sweep.layers()
    if layers is not None:
        roles.setdefault(layers - 1, []).append("full")
    return {boundary: ", ".join(said) for boundary, said in roles.items()}


def _mixed(run: Run, confirmed: set[str]) -> set[str]:
    """Return the groups with tasks whose results on other documents count."""
    found: set[str] = set()
    while more := {
        group
        for group, tasks in run.subtasks.items()
        if group not in found and (confirmed | found).intersection(tasks)
    }:
        found |= more
    return found & run.tasks.keys()


def _parts(sweep: Sweep, boundary: int, confirmed: set[str]) -> list[Run]:
    """Return the results of a boundary, each task's from where they count."""
    parts = []
    for task in (None, *sorted(confirmed)):
        run = sweep.run(boundary, confirmed=task)
        if run is None:
            continue
        if task is None:
            wanted = run.tasks.keys() - confirmed - _mixed(run, confirmed)
        else:
            wanted = run.tasks.keys() & {task}
        tasks = {name: result for name, result in run.tasks.items() if name in wanted}
        if tasks:
            parts.append(replace(run, tasks=tasks))
    return parts
