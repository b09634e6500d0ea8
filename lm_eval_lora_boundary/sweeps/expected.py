"""About how much work the answers of a sweep take, known before the first of them."""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval.api.task import Task

from ..cuts.keep import Cut
from ..harness.tasks import LoadedTasks
from .metric import LIKELIHOOD
from .progress import SCORED, WRITTEN
from .race import documents_of
from .settings import SweepSettings

CHOOSING = "scoring"
CONTROL_TASKS = "control tasks"
TEST = "test split"
_TESTED = 6  # cuts: the two ends, the best, and some that keep the gain


def expected_work(
    tasks: LoadedTasks, controls: LoadedTasks | None, cuts: Sequence[Cut], settings: SweepSettings
) -> dict[str, dict[str, int]]:
    """Return the work by stage and task, if every document took one answer under each cut."""
    count = len(cuts)
    stages = {CHOOSING: _work(tasks, count, settings)}
    if controls is not None:
        stages[CONTROL_TASKS] = _work(controls, count, settings)
    if settings.confirm and tasks.to_confirm:
        tested = min(_TESTED, count)
        stages[TEST] = {
            name: tested * _each(tasks.tasks[name]) * _on_test_split(tasks.tasks[name], settings)
            for name in tasks.to_confirm
        }
    return stages


def _work(tasks: LoadedTasks, cuts: int, settings: SweepSettings) -> dict[str, int]:
    return {
        name: cuts * _each(task) * documents_of(task, settings)
        for name, task in tasks.tasks.items()
    }


def _each(task: Task) -> int:
    """Return the work of a document under a cut: one answer, and its gold answer if needed."""
    if task.OUTPUT_TYPE != "generate_until":
        return SCORED
    return WRITTEN + (SCORED if LIKELIHOOD.name in task.aggregation() else 0)


def _on_test_split(task: Task, settings: SweepSettings) -> int:
    """Return the number of documents of the test split, without preparing any."""
    config, dataset = getattr(task, "config", None), getattr(task, "dataset", None)
    split = getattr(config, "test_split", None)
    here = documents_of(task, settings)
    if dataset is None or split not in dataset:
        return here  # a guess
    limit = settings.documents
    documents = len(dataset[split])
    if limit is None:
        return documents
    return min(documents, int(limit) if limit >= 1 else max(1, int(limit * documents)))
