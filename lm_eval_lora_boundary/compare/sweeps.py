"""Sweep folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import CONFIRMED, NO_CLUSTERS, SWEEP, cut_folder, file_name
from .locate import read_json
from .runs import Run, newest_runs


@dataclass(frozen=True)
class Sweep:
    """A sweep on disk: its folder, and settings and tasks from ``sweep.json``."""

    folder: Path
    settings: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]]

    def run(self, cut: int | str, confirmed_task: str | None = None) -> Run | None:
        """Return the results of a cut (a boundary, or a notation), or None if there are none.

        With ``confirmed_task``, these are the results of this task on the test split. Documents
        that the sweep drew together belong together here, too.
        """
        folder = self.folder
        if confirmed_task is not None:
            folder = folder / CONFIRMED / file_name(confirmed_task)
        files = cut_folder(folder, cut).glob("results_*.json")
        runs, _ = newest_runs(sorted(files, reverse=True))
        requested = self.settings.get("cluster")
        if not runs or not isinstance(requested, str):
            return runs[0] if runs else None
        field = None if requested == NO_CLUSTERS else requested
        return replace(
            runs[0],
            tasks={task: replace(r, cluster=field) for task, r in runs[0].tasks.items()},
        )

    def layers(self) -> int | None:
        """Return the number of layers, or None if no results file records it."""
        rows = [row for entry in self.tasks.values() for row in entry["boundaries"]]
        for boundary in dict.fromkeys(row["boundary"] for row in rows):
            run = self.run(boundary)
            if run is not None and run.layers is not None:
                return run.layers
        return None


def read_sweep(folder: Path) -> Sweep:
    """Read ``sweep.json``.

    Raises:
        OutputError: The file cannot be read, or is not that of a finished sweep.
    """
    file = folder / SWEEP
    content = read_json(file)
    tasks = content.get("tasks")
    if not isinstance(tasks, dict) or not tasks or not all(map(_is_complete, tasks.values())):
        raise OutputError(
            f"{file} lacks tasks with their metric, boundaries and best: it is not from "
            "`lora-boundary sweep`, or from another version; run the sweep again"
        )
    settings = content.get("settings")
    return Sweep(folder, settings if isinstance(settings, dict) else {}, tasks)


def _is_complete(entry: Any) -> bool:
    """Return whether the entry of a task has all needed keys, with values of the right type."""
    if not isinstance(entry, dict) or not isinstance(entry.get("metric"), str):
        return False
    rows = entry.get("boundaries")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return False
    boundaries = [row.get("boundary") for row in rows]
    numbers = [row.get(name) for row in rows for name in ("value", "selection_share")]
    cuts = [entry.get(name) for name in ("smallest_noninferior", "choice")]
    return (
        all("value" in row for row in rows)
        and all(isinstance(boundary, int) for boundary in boundaries)
        and all(isinstance(number, (int, float, type(None))) for number in numbers)
        and all(isinstance(cut, (int, str, type(None))) for cut in cuts)
        and isinstance(entry.get("documents"), (int, type(None)))
        and entry.get("best") in [*boundaries, *_other_cuts(entry)]
    )


def _other_cuts(entry: Mapping[str, Any]) -> list[Any]:
    """Return the notation of the cuts of a task that are no boundaries."""
    families = entry.get("families")
    if not isinstance(families, dict):
        return []
    found = [family.get("cuts") for family in families.values() if isinstance(family, dict)]
    rows = [row for cuts in found if isinstance(cuts, list) for row in cuts]
    return [row.get("cut") for row in rows if isinstance(row, dict)]


def representatives(sweep: Sweep) -> tuple[list[Run], list[str]]:
    """Return the runs that represent a sweep: base model, best cuts and whole adapter.

    For tasks that the sweep also scored on the test split, those results are used.

    Returns:
        The runs, and warnings about them.

    Raises:
        OutputError: The folder holds the results of none of these cuts.
    """
    warnings = []
    runs = []
    confirmed = {task for task, entry in sweep.tasks.items() if entry.get("test")}
    groups: set[str] = set()
    for cut, role in _roles(sweep).items():
        scored = sweep.run(cut)
        if scored is not None:
            groups |= _groups_of_confirmed(scored, confirmed)
        parts = _parts(sweep, cut, scored, confirmed)
        if not parts:
            named = f"boundary={cut}" if isinstance(cut, int) else f"keep={cut}"
            warnings.append(f"{sweep.folder} has no results for {named} ({role})")
            continue
        runs.append(
            replace(
                parts[0],
                files=tuple(file for part in parts for file in part.files),
                tasks={task: result for part in parts for task, result in part.tasks.items()},
                subtasks=(scored or parts[0]).subtasks,
                role=role,
                sweep=sweep.folder,
            )
        )
    if not runs:
        raise OutputError(
            f"{sweep.folder} holds {SWEEP}, but no results in boundary=K/; run the sweep again"
        )
    if groups:
        warnings.append(
            f"{sweep.folder}: {', '.join(sorted(groups))} is left out: its value is from the "
            "documents that the cut was chosen on, not from the test split"
        )
    warnings += nothing_chosen(sweep).values()
    unconfirmed = [
        task for task in sweep.tasks if task not in confirmed and task not in nothing_chosen(sweep)
    ]
    if unconfirmed:
        warnings.append(
            f"{sweep.folder}: the best cut was chosen on these same documents of "
            f"{', '.join(unconfirmed)}, so it looks better than it is"
        )
    return runs, warnings


def nothing_chosen(sweep: Sweep) -> dict[str, str]:
    """Return a warning for each task on which the sweep had no reason to choose."""
    return {
        task: f"{sweep.folder}: no cut was chosen on {task}: {reason}"
        for task, entry in sweep.tasks.items()
        if (reason := entry.get("not_chosen"))
    }


def _roles(sweep: Sweep) -> dict[int | str, str]:
    """Return the roles of cuts, ``base``, ``best``, ``whole adapter``; boundaries come first."""
    roles: dict[int | str, list[str]] = {-1: ["base"]}
    tasks_by_best: dict[int | str, list[str]] = {}
    for task, entry in sweep.tasks.items():
        if task not in nothing_chosen(sweep):
            tasks_by_best.setdefault(entry["best"], []).append(task)
    for cut, tasks in tasks_by_best.items():
        role = "best" if len(tasks_by_best) == 1 else f"best of {', '.join(tasks)}"
        roles.setdefault(cut, []).append(role)
    layers = sweep.layers()
    if layers is not None:
        roles.setdefault(layers - 1, []).append("whole adapter")
    boundaries = sorted(cut for cut in roles if isinstance(cut, int))
    others = [cut for cut in roles if isinstance(cut, str)]
    ordered: list[int | str] = [*boundaries, *others]
    return {cut: ", ".join(roles[cut]) for cut in ordered}


def _groups_of_confirmed(run: Run, confirmed: set[str]) -> set[str]:
    """Return the groups of a run that contain confirmed tasks, directly or in other groups."""
    groups: set[str] = set()
    while more := {
        group
        for group, tasks in run.subtasks.items()
        if group not in groups and (confirmed | groups).intersection(tasks)
    }:
        groups |= more
    return groups & run.tasks.keys()


def _parts(sweep: Sweep, cut: int | str, scored: Run | None, confirmed: set[str]) -> list[Run]:
    """Return the results of a cut: the sweep's own, and those on the test split."""
    parts = []
    if scored is not None:
        left_out = confirmed | _groups_of_confirmed(scored, confirmed)
        parts.append(_only(scored, scored.tasks.keys() - left_out))
    for task in sorted(confirmed):
        run = sweep.run(cut, confirmed_task=task)
        if run is not None:
            parts.append(_only(run, {task}))
    return [part for part in parts if part.tasks]


def _only(run: Run, tasks: set[str]) -> Run:
    """Return a run with some of its tasks."""
    return replace(run, tasks={name: r for name, r in run.tasks.items() if name in tasks})
