"""Find and load lm-eval tasks, with clear errors."""

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
from lm_eval.tasks import TaskManager

from ..errors import LoraBoundaryError, TaskError, first_line
from ..upstream.lm_eval import (
    DEFAULT_OTHER_SEED,
    DEFAULT_RANDOM_SEED,
    load_data,
    matching_tasks,
    sample_size,
    set_torch_seed,
)
from .clusters import cluster_field, keep_whole_clusters
from .settings import check_include_path


def task_manager(
    include_path: str | None = None, metadata: Mapping[str, Any] | None = None
) -> TaskManager:
    """Return lm-eval's index of all tasks, including the bundled ones.

    Args:
        include_path: Folder with further tasks.
        metadata: Facts about the model for the tasks, as ``lm_eval`` gives them.

    Raises:
        TaskError: The folder does not exist.
    """
    check_include_path(include_path)
    return TaskManager(include_path=include_path, metadata=dict(metadata or {}))


def find_tasks(manager: TaskManager, names: Sequence[str]) -> list[str]:
    """Return the tasks, groups and tags that names, patterns such as ``mmlu_*`` and files mean.

    Raises:
        TaskError: A name is unknown, or there is none.
    """
    found: list[str] = []
    for name in names:
        matches = [name] if Path(name).is_file() else matching_tasks(manager, name)
        if not matches:
            near = difflib.get_close_matches(name, manager.all_tasks, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "see `lm_eval ls tasks`"
            raise TaskError(f"task {name} is unknown; {hint}")
        found += matches
    if not found:
        raise TaskError("no task given; see `lm_eval ls tasks`")
    return list(dict.fromkeys(found))


def load_tasks(manager: TaskManager, names: Sequence[str]) -> Any:
    """Return tasks with their data, as lm-eval's ``TaskDict``.

    Raises:
        TaskError: The data of a task cannot be loaded.
    """
    try:
        loaded = manager.load(list(names))
        load_data(loaded["tasks"].values())
        return loaded
    except LoraBoundaryError:
        raise
    except (OSError, ValueError, DatasetsError) as error:
        raise TaskError(
            f"task {', '.join(names)}: its data cannot be loaded ({type(error).__name__}: "
            f"{first_line(error)}); check the network, or the paths in its YAML"
        ) from error


def seed() -> None:
    """Seed as ``lm_eval.simple_evaluate`` does. Some tasks shuffle while they are loaded."""
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    set_torch_seed(DEFAULT_OTHER_SEED)


class LoadedTasks:
    """Tasks that are loaded once and evaluated many times with the same requests.

    lm-eval loads its tasks and builds their requests again for every evaluation. A sweep has one
    evaluation per boundary, so this class replaces lm-eval's ``TaskManager``.

    Attributes:
        names: Names of the tasks, groups and tags.
        loaded: lm-eval's ``TaskDict``.
        splits: The split that each task is evaluated on.
        clusters: The field by which each task's documents belong together; None if they do not.
        to_confirm: The tasks that are evaluated on the validation split and also have a test split.
    """

    def __init__(
        self,
        manager: TaskManager,
        names: Sequence[str],
        split: str | None,
        limit: float | None = None,
        only: str | None = None,
        *,
        cluster: str | None = None,
    ) -> None:
        """Load the tasks.

        Args:
            manager: lm-eval's index of tasks.
            names: Names that :func:`find_tasks` returned.
            split: ``validation`` or ``test``; None for the first of them that a task has.
            limit: Largest number of documents of each task, or a share below 1. If documents belong
                together, the limit takes as many as it can without a part of them.
            only: The one task to keep.
            cluster: The field by which documents belong together, ``none`` if they do not; None for
                the field that each task names in its metadata.

        Raises:
            TaskError: Data cannot be loaded, or a task does not have the split or the field.
        """
        self._manager = manager
        self._limit = limit
        self._cluster = cluster
        self._all_names = self.names = list(names)
        seed()
        self.loaded = load_tasks(manager, names)
        if only is not None:
            self.names = [only]
            tasks = {only: self.loaded["tasks"][only]}
            self.loaded = {"tasks": tasks, "groups": {}, "group_map": {}}
        self.splits: dict[str, str] = {}
        self.clusters: dict[str, str | None] = {}
        self.to_confirm: list[str] = []
        for name, task in self.tasks.items():
            if getattr(task, "MULTIMODAL", False):
                raise TaskError(f"task {name} needs images or sound; give a task with text alone")
            self.splits[name] = split or _first_split(task)
            if self.splits[name] == "validation" and _has_other_test_split(task):
                self.to_confirm.append(name)
            _choose_split(name, task, self.splits[name])
            self.clusters[name] = cluster_field(task, cluster)
            keep_whole_clusters(task, limit, self.clusters[name])
            task.build_all_requests = _building_once(task, limit)

    def on_test_split(self, name: str) -> LoadedTasks:
        """Load one of the tasks again, to be evaluated on its test split."""
        return LoadedTasks(
            self._manager, self._all_names, "test", self._limit, only=name, cluster=self._cluster
        )

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks by name, including those in groups."""
        tasks: dict[str, Task] = self.loaded["tasks"]
        return tasks

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of lm-eval's ``TaskManager``."""
        return getattr(self._manager, name)

    def load(self, task_list: Any) -> Any:
        """Return the loaded tasks."""
        return self.loaded


def _first_split(task: Task) -> str:
    return "validation" if task.has_validation_docs() or not task.has_test_docs() else "test"


def _has_other_test_split(task: Task) -> bool:
    """Return whether there is a test split that is not just the validation split."""
    config = getattr(task, "config", None)
    test = getattr(config, "test_split", None)
    same = test is not None and test == getattr(config, "validation_split", None)
    return bool(task.has_test_docs()) and not same


def _choose_split(name: str, task: Task, split: str) -> None:
    """Make lm-eval evaluate a split, or refuse if the task does not have it."""
    has = task.has_validation_docs() if split == "validation" else task.has_test_docs()
    if not has:
        other = "test" if split == "validation" else "validation"
        raise TaskError(f"task {name} has no {split} split; try --split {other}")
    if split == "test":
        return
    if isinstance(task, ConfigurableTask):
        # Not None: lm-eval keeps the document itself out of few-shot examples from "test".
        task.config.test_split = task.config.validation_split
        # in 0.5, tasks in Python are of this class too, and may have documents of their own
        setattr(task, "test_docs", lambda: task.validation_docs())  # noqa: B010
    else:
        task.has_test_docs = lambda: False


def _building_once(task: Task, limit: float | None) -> Callable[..., None]:
    """Return a ``build_all_requests`` that builds once, for all documents within the limit.

    Few-shot examples are drawn document by document. If requests were built for some documents
    only, their prompts would differ.
    """
    build = task.build_all_requests
    built: list[Instance] = []

    def build_all_requests(*, samples: Sequence[int] | None = None, **options: Any) -> None:
        if not built:
            most = sample_size(task, limit)
            try:
                build(**(options | {"limit": most, "samples": None}))
            except (AssertionError, ValueError) as error:
                _refuse_too_many_examples(task, error)
                raise
            built.extend(task.instances)
        # lm-eval numbers the documents of ``samples`` in their order, which is ascending here.
        documents = {instance.doc_id for instance in built} if samples is None else samples
        number = {doc: doc if samples is None else i for i, doc in enumerate(documents)}
        task._instances = chosen = [copy.copy(each) for each in built if each.doc_id in number]
        for instance in chosen:
            instance.resps, instance.filtered_resps = [], {}
            instance.doc_id = number[instance.doc_id]

    return build_all_requests


def _refuse_too_many_examples(task: Task, error: Exception) -> None:
    num_fewshot = getattr(task.config, "num_fewshot", None) or 0
    examples = len(getattr(getattr(task, "sampler", None), "df", None) or ())
    if num_fewshot > 0 and num_fewshot >= examples:  # one of them may be the document itself
        raise TaskError(
            f"task {task.task_name}: num_fewshot={num_fewshot}, but there are only {examples} "
            "examples to draw from; ask for fewer"
        ) from error
