"""Find and load lm-eval tasks; what a user gets wrong is told in one line."""

from __future__ import annotations

import copy
import difflib
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets.exceptions import DatasetsError
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.evaluator_utils import get_sample_size
from lm_eval.tasks import TaskManager
from lm_eval.utils import set_torch_seed

from ..errors import LoraBoundaryError, TaskError, first_line

SPLITS = ("validation", "test")


def task_manager(
    include_path: str | None = None, metadata: Mapping[str, Any] | None = None
) -> TaskManager:
    """Return lm-eval's index of all tasks, the bundled ones included.

    Args:
        include_path: Folder with further tasks.
        metadata: What tasks may want to know about the model, as ``lm_eval`` hands it to them.

    Raises:
        TaskError: The folder does not exist.
    """
    if include_path is not None and not Path(include_path).is_dir():
        raise TaskError(f"include_path={include_path} is not a folder")
    return TaskManager(include_path=include_path, metadata=dict(metadata or {}))


def find_tasks(manager: TaskManager, names: Sequence[str]) -> list[str]:
    """Return the tasks, groups and tags that names, patterns such as ``mmlu_*`` or files mean.

    Raises:
        TaskError: A name means nothing.
    """
    found: list[str] = []
    for name in names:
        matches = [name] if Path(name).is_file() else manager.match_tasks([name])
        if not matches:
            near = difflib.get_close_matches(name, manager.all_tasks, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "see `lm_eval ls tasks`"
            raise TaskError(f"task {name} is unknown; {hint}")
        found += matches
    if not found:
        raise TaskError("no task given; see `lm_eval ls tasks`")
    return list(dict.fromkeys(found))


def load_tasks(manager: TaskManager, names: Sequence[str]) -> Any:
    """Load tasks with their data.

    Returns:
        lm-eval's ``TaskDict``.

    Raises:
        TaskError: The data of a task cannot be loaded.
    """
    try:
        return manager.load(list(names))
    except LoraBoundaryError:
        raise
    except (OSError, ValueError, DatasetsError) as error:
        raise TaskError(
            f"task {', '.join(names)}: its data cannot be loaded ({type(error).__name__}: "
            f"{first_line(error)}); check the network, or the paths in its YAML"
        ) from error


def seed() -> None:
    """Seed as ``lm_eval.simple_evaluate`` does; some tasks shuffle while they are loaded."""
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    set_torch_seed(DEFAULT_OTHER_SEED)


class LoadedTasks:
    """Tasks that are loaded once and evaluated many times with the same requests.

    lm-eval loads its tasks and builds their requests anew at every evaluation, and a sweep has
    one per boundary. This takes the place of its ``TaskManager``.

    Attributes:
        names: Names of the tasks, groups and tags.
        loaded: lm-eval's ``TaskDict``.
        splits: The split that each task is evaluated on.
        to_confirm: The tasks that are evaluated on the validation split and have a test split.
    """

    def __init__(
        self,
        manager: TaskManager,
        names: Sequence[str],
        split: str | None,
        limit: float | None = None,
        only: str | None = None,
    ) -> None:
        """Load the tasks.

        Args:
            manager: Where to find them.
            names: Names that :func:`find_tasks` returned.
            split: ``validation`` or ``test``; None for the first of them that a task has.
            limit: Most documents of each task, or the share of them below 1.
            only: The one task to keep.

        Raises:
            TaskError: Data cannot be loaded, or a task lacks the split.
        """
        self._manager = manager
        self._limit = limit
        self.names = list(names) if only is None else [only]
        seed()
        self.loaded = load_tasks(manager, names)
        self._all_names = list(names)
        if only is not None:
            tasks = {only: self.loaded["tasks"][only]}
            self.loaded = {"tasks": tasks, "groups": {}, "group_map": {}}
        self.splits: dict[str, str] = {}
        self.to_confirm: list[str] = []
        for name, task in self.tasks.items():
            if getattr(task, "MULTIMODAL", False):
                raise TaskError(f"task {name} needs images or sound; boundaries are for text")
            self.splits[name] = split or _first_split(task)
            if self.splits[name] == "validation" and _has_other_test_split(task):
                self.to_confirm.append(name)
            _choose_split(name, task, self.splits[name])
            task.build_all_requests = _building_once(task, limit)

    def on_test_split(self, name: str) -> LoadedTasks:
        """Load one of the tasks once more, to be evaluated on its test split."""
        return LoadedTasks(self._manager, self._all_names, "test", self._limit, only=name)

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks by name, those in groups included."""
        tasks: dict[str, Task] = self.loaded["tasks"]
        return tasks

    def __getattr__(self, name: str) -> Any:
        """Return anything else that lm-eval asks its ``TaskManager``."""
        return getattr(self._manager, name)

    def load(self, task_list: Any) -> Any:
        """Return what has been loaded."""
        del task_list
        return self.loaded


def _first_split(task: Task) -> str:
    return "validation" if task.has_validation_docs() or not task.has_test_docs() else "test"


def _has_other_test_split(task: Task) -> bool:
    """Tell whether there is a test split that is not the validation split by another name."""
    config = getattr(task, "config", None)
    names = (getattr(config, "test_split", None), getattr(config, "validation_split", None))
    return bool(task.has_test_docs()) and (names[0] is None or names[0] != names[1])


def _choose_split(name: str, task: Task, split: str) -> None:
    """Let lm-eval evaluate a split.

    Raises:
        TaskError: The task does not have it.
    """
    has = task.has_validation_docs() if split == "validation" else task.has_test_docs()
    if not has:
        other = "test" if split == "validation" else "validation"
        raise TaskError(f"task {name} has no {split} split; try --split {other}")
    if split == "test":
        return
    if isinstance(task, ConfigurableTask):
        # and not None: lm-eval keeps the asked document out of examples of its "test" split
        task.config.test_split = task.config.validation_split
    else:
        task.has_test_docs = lambda: False


def _building_once(task: Task, limit: float | None) -> Callable[..., None]:
    """Return ``build_all_requests`` that builds once, for all documents that may be asked for.

    Few-shot examples are drawn one document after the other: built for some documents only, a
    prompt would be another one.
    """
    build = task.build_all_requests
    built: list[Instance] = []

    def build_all_requests(*, samples: Sequence[int] | None = None, **options: Any) -> None:
        if not built:
            documents = get_sample_size(task, limit)
            try:
                build(**(options | {"limit": documents, "samples": None}))
            except (AssertionError, ValueError) as error:
                _refuse_too_many_examples(task, error)
                raise
            built.extend(task.instances)
        # as lm-eval does with ``samples``, which are in ascending order here
        numbers = None if samples is None else {doc: i for i, doc in enumerate(samples)}
        chosen = []
        for instance in built:
            if numbers is None or instance.doc_id in numbers:
                fresh = copy.copy(instance)
                fresh.resps, fresh.filtered_resps = [], {}
                fresh.doc_id = instance.doc_id if numbers is None else numbers[instance.doc_id]
                chosen.append(fresh)
        task._instances = chosen

    return build_all_requests


def _refuse_too_many_examples(task: Task, error: Exception) -> None:
    """Say it in one line if lm-eval ran out of few-shot examples.

    Raises:
        TaskError: It did.
    """
    asked = getattr(task.config, "num_fewshot", None) or 0
    there = len(getattr(getattr(task, "sampler", None), "df", None) or ())
    if asked > 0 and asked + 1 > there:  # the document itself is none of its examples
        raise TaskError(
            f"task {task.task_name}: num_fewshot={asked}, but there are only {there} examples to "
            "draw from; ask for fewer"
        ) from error
