"""The tasks of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval.tasks import TaskManager

from ..errors import TaskError
from ..harness.tasks import LoadedTasks
from .metric import check_metric
from .settings import SweepSettings


def load_tasks(manager: TaskManager, names: Sequence[str], settings: SweepSettings) -> LoadedTasks:
    """Load tasks and refuse those that cannot be swept.

    Raises:
        TaskError: A task cannot be loaded or run, or has no metric to choose by.
    """
    loaded = LoadedTasks(manager, names, settings.split, settings.documents)
    if settings.save and len(loaded.tasks) != 1:
        raise TaskError(
            f"--save takes one task to choose by, and {', '.join(loaded.tasks)} were given"
        )
    if "map" in settings.family and len(loaded.tasks) != 1:
        raise TaskError(
            f"family=map orders layers by the map of one task, and {', '.join(loaded.tasks)} were "
            "given; sweep them one by one"
        )
    for name, task in loaded.tasks.items():
        check_metric(task, settings.metric)
        if getattr(task, "UNSAFE_CODE", False) and not settings.confirm_run_unsafe_code:
            raise TaskError(
                f"task {name} runs code that the model wrote; give --confirm-run-unsafe-code if "
                "that is safe here"
            )
    return loaded
