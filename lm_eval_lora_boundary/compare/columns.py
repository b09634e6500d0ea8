"""Which tasks and metrics a leaderboard shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from ..errors import TaskError
from .runs import Run


def select_columns(
    runs: Sequence[Run], metrics: Sequence[str] = (), tasks: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Return the pairs of task and metric key to show.

    A group without values of its own stands for its tasks. By default, the first metric of each
    task that has a direction is shown.

    Raises:
        TaskError: No result has the task, or no task has the metric.
    """
    keys_by_task = {task: _metric_keys(runs, task) for task in _select_tasks(runs, tasks)}
    wanted = [(name, filter_name) for name, _, filter_name in (m.partition(",") for m in metrics)]
    for name, filter_name in wanted:
        if not any(_matches(k, name, filter_name) for keys in keys_by_task.values() for k in keys):
            metric = f"{name},{filter_name}" if filter_name else name
            available = "; ".join(f"{task} has {' '.join(k)}" for task, k in keys_by_task.items())
            raise TaskError(f"metric={metric} is not in any of the results: {available}")
    columns = []
    for task, keys in keys_by_task.items():
        if metrics:
            shown = [key for name, rest in wanted for key in keys if _matches(key, name, rest)]
        else:
            shown = [key for key in keys if direction(runs, task, key) is not None][:1] or keys[:1]
        columns += [(task, key) for key in dict.fromkeys(shown)]
    return columns


def direction(runs: Sequence[Run], task: str, key: str) -> bool | None:
    """Return whether a higher value of a metric is better; None if no result says so."""
    name = key.partition(",")[0]
    directions = (run.tasks[task].directions.get(name) for run in runs if task in run.tasks)
    return next((value for value in directions if isinstance(value, bool)), None)


def _select_tasks(runs: Sequence[Run], patterns: Sequence[str]) -> list[str]:
    """Return the tasks to show: all in the order of the results, or in the order requested."""
    known = list(dict.fromkeys(task for run in runs for task in run.tasks))
    if not known:
        raise TaskError("the results have no values for any task; evaluate again")
    subtasks = {group: tasks for run in runs for group, tasks in run.subtasks.items()}
    selected: list[str] = []
    for pattern in patterns:
        matches = [task for task in known if fnmatchcase(task, pattern)]
        if not matches:
            matches = [task for task in tasks_of_group(pattern, subtasks) if task in known]
        if not matches:
            raise TaskError(
                f"tasks={pattern} is not in any of the results; they have {', '.join(known)}"
            )
        selected += matches
    return list(dict.fromkeys(selected)) or known


def tasks_of_group(group: str, subtasks: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the tasks of a group, including those of nested groups."""
    tasks = []
    for task in subtasks.get(group, []):
        # without the group itself, so that a cycle ends
        others = {name: members for name, members in subtasks.items() if name != group}
        tasks += [task, *tasks_of_group(task, others)]
    return tasks


def _metric_keys(runs: Sequence[Run], task: str) -> list[str]:
    """Return the metric keys that any result of a task has."""
    return list(
        dict.fromkeys(k for run in runs if task in run.tasks for k in run.tasks[task].values)
    )


def _matches(key: str, name: str, filter_name: str) -> bool:
    """Return whether a key has this metric name and, if given, this filter."""
    key_name, _, key_filter = key.partition(",")
    return key_name == name and filter_name in ("", key_filter)
