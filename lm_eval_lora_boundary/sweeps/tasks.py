"""The tasks of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval.tasks import TaskManager

from ..errors import TaskError
from ..harness.tasks import LoadedTasks, find_tasks
from ..upstream.lm_eval import runs_code
from .metric import check_metric
from .settings import SweepSettings


def load_tasks(manager: TaskManager, names: Sequence[str], settings: SweepSettings) -> LoadedTasks:
    """Load tasks and refuse those that cannot be swept.

    Raises:
        TaskError: A task cannot be loaded or run, or has no metric to choose by.
    """
    loaded = LoadedTasks(
        manager, names, settings.split, settings.documents, cluster=settings.cluster
    )
    if settings.save and len(loaded.tasks) != 1:
        raise TaskError(
            f"--save takes one task to choose by, and {', '.join(loaded.tasks)} were given"
        )
    if "map" in settings.family and len(loaded.tasks) != 1:
        raise TaskError(
            f"family=map orders layers by the map of one task, and {', '.join(loaded.tasks)} were "
            "given; sweep them one by one"
        )
    _check(loaded, settings.metric_name, settings)
    return loaded


def load_controls(
    manager: TaskManager, tasks: LoadedTasks, settings: SweepSettings
) -> LoadedTasks | None:
    """Load the control tasks, each on the first split that it has; None if none were given.

    Raises:
        TaskError: A task cannot be loaded or run, has no metric, or is swept too.
    """
    if not settings.control:
        return None
    loaded = LoadedTasks(manager, find_tasks(manager, settings.control), None, settings.documents)
    if both := loaded.tasks.keys() & tasks.tasks.keys():
        raise TaskError(
            f"control={','.join(settings.control)}: {', '.join(sorted(both))} is a task of the "
            "sweep itself; give other tasks"
        )
    _check(loaded, None, settings)
    return loaded


def _check(loaded: LoadedTasks, metric: str | None, settings: SweepSettings) -> None:
    """Refuse tasks without a metric to compare by, and those that run code."""
    for name, task in loaded.tasks.items():
        check_metric(task, metric)
        if runs_code(task) and not settings.confirm_run_unsafe_code:
            raise TaskError(
                f"task {name} runs code that the model wrote; give --confirm-run-unsafe-code if "
                "that is safe here"
            )
