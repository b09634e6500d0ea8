"""Which tasks and metrics a leaderboard shows."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from ..errors import TaskError
from .runs import Run


def columns(
    runs: Sequence[Run], metrics: Sequence[str] = (), tasks: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Return the tasks and keys of metrics to show.

    Args:
        runs: The models.
        metrics: ``metric`` or ``metric,filter``, of all tasks that have it. Default: the first
            metric of each task that says which way is better.
        tasks: Names of tasks or groups, ``*`` for any text; a group without values of its own
            stands for its tasks. Default: all.

    Raises:
        TaskError: No result has such a task, or no task such a metric; says what there is.
    """
    known = {task: _keys(runs, task) for task in _chosen(runs, tasks)}
    wanted = [(name, filter_name) for name, _, filter_name in (m.partition(",") for m in metrics)]
    for name, filter_name in wanted:
        if not any(_matches(key, name, filter_name) for keys in known.values() for key in keys):
            asked = f"{name},{filter_name}" if filter_name else name
            there = "; ".join(f"{task} has {' '.join(keys)}" for task, keys in known.items())
            raise TaskError(f"metric={asked} is in none of the results: {there}")
    found = []
    for task, keys in known.items():
        if metrics:
            shown = [key for name, rest in wanted for key in keys if _matches(key, name, rest)]
        else:
            shown = [key for key in keys if direction(runs, task, key) is not None][:1] or keys[:1]
        found += [(task, key) for key in dict.fromkeys(shown)]
    return found


def direction(runs: Sequence[Run], task: str, key: str) -> bool | None:
    """Return whether more of a metric is better, None if no result says so."""
    name = key.partition(",")[0]
    said = (run.tasks[task].directions.get(name) for run in runs if task in run.tasks)
    return next((value for value in said if isinstance(value, bool)), None)


def _chosen(runs: Sequence[Run], tasks: Sequence[str]) -> list[str]:
    """Return the tasks to show, in the order of the results or of the request."""
    known = list(dict.fromkeys(task for run in runs for task in run.tasks))
    if not known:
        raise TaskError("the results hold no values of any task; evaluate again")
    subtasks = {group: list(of) for run in runs for group, of in run.subtasks.items()}
    chosen: list[str] = []
    for asked in tasks:
        found = [task for task in known if fnmatchcase(task, asked)]
        if not found:
            found = [task for task in _below(asked, subtasks) if task in known]
        if not found:
            raise TaskError(
                f"tasks={asked} is in none of the results; they have {', '.join(known)}"
            )
        chosen += found
    return list(dict.fromkeys(chosen)) or known


def _below(group: str, subtasks: dict[str, list[str]]) -> list[str]:
    """Return the tasks of a group, those of groups inside it included."""
    found = []
    for task in subtasks.get(group, []):
        found += [task, *_below(task, {k: v for k, v in subtasks.items() if k != group})]
    return found


def _keys(runs: Sequence[Run], task: str) -> list[str]:
    """Return lm-eval's keys of the metrics that any result of a task has."""
    return list(
        dict.fromkeys(k for run in runs if task in run.tasks for k in run.tasks[task].values)
    )


def _matches(key: str, name: str, filter_name: str) -> bool:
    """Tell whether a key is of a metric, after any filter unless one is given."""
    own, _, own_filter = key.partition(",")
    return own == name and filter_name in ("", own_filter)
