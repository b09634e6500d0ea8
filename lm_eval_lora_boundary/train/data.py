"""Build training rows from the training documents of an lm-eval task."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from datasets import Dataset, Features, Value
from datasets import Sequence as ListOf
from lm_eval.api.task import Task
from tqdm import tqdm

from ..errors import TaskError
from ..harness.prompts import Prompts, Row
from ..harness.tasks import find_tasks, load_tasks, task_manager

IGNORED = -100  # label of tokens that the loss leaves out


@dataclass
class Rows:
    """Training rows, with counts of the documents that they come from.

    Attributes:
        rows: The rows, in the order of the documents.
        documents: Number of documents read.
        too_long: Number of documents left out because the answer leaves no room for a prompt.
        empty: Number of documents left out because the target is empty.
    """

    rows: list[Row] = field(default_factory=list)
    documents: int = 0
    too_long: int = 0
    empty: int = 0

    def summary(self) -> dict[str, Any]:
        """Return counts and a SHA-256 of all rows, for ``training.json``."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(np.array([row.prompt, len(row.tokens)], dtype="<i4").tobytes())
            digest.update(row.tokens.astype("<i4").tobytes())
        tokens = sum(len(row.tokens) for row in self.rows)
        return {
            "documents": self.documents,
            "used": len(self.rows),
            "dropped_too_long": self.too_long,
            "dropped_empty_target": self.empty,
            "truncated_prompts": sum(row.truncated for row in self.rows),
            "tokens": tokens,
            "answer_tokens": tokens - sum(row.prompt for row in self.rows),
            "sha256": digest.hexdigest(),
        }

    def dataset(self) -> Dataset:
        """Return the rows with SFTTrainer's columns ``input_ids`` and ``labels``."""
        labels = [row.tokens.copy() for row in self.rows]
        for row, label in zip(self.rows, labels, strict=True):
            label[: row.prompt] = IGNORED
        columns = {"input_ids": [row.tokens for row in self.rows], "labels": labels}
        return Dataset.from_dict(columns, Features(dict.fromkeys(columns, ListOf(Value("int32")))))


def load_task(name: str, include_path: str | None = None) -> Task:
    """Load a task to train on.

    Args:
        name: Name of a task of lm-eval or of this package, or a YAML file.
        include_path: Folder with more tasks.

    Raises:
        TaskError: The task is unknown, is a group, does not generate text or has no training
            documents, or its data cannot be loaded.
    """
    manager = task_manager(include_path)
    if name in manager.all_groups or name in manager.all_tags:
        raise TaskError(
            f"task {name} is a group; training takes one task; `lm_eval ls subtasks` lists them"
        )
    loaded = list(load_tasks(manager, find_tasks(manager, [name]))["tasks"].values())
    if len(loaded) != 1:
        raise TaskError(f"{name} contains {len(loaded)} tasks; training takes one task")
    _check_trainable(loaded[0], name)
    return loaded[0]


def _check_trainable(task: Task, name: str) -> None:
    if task.OUTPUT_TYPE != "generate_until":
        raise TaskError(
            f"task {name} has output_type {task.OUTPUT_TYPE}; training needs generate_until, a "
            "task that generates text"
        )
    if not task.has_training_docs():
        raise TaskError(
            f"task {name} has no training split; choose a task with training_split, or add one "
            "to a copy of its YAML and pass --include-path"
        )
    if getattr(task, "MULTIMODAL", False):
        raise TaskError(f"task {name} needs images or audio; training supports text only")


def build_rows(prompts: Prompts, docs: Any, max_length: int, limit: int | None = None) -> Rows:
    """Build training rows from documents.

    Args:
        prompts: Prompts of the task.
        docs: Its training documents.
        max_length: Maximum length of a row in tokens.
        limit: Use only the first ``limit`` documents; None for all.

    Raises:
        TaskError: All documents are left out.
    """
    rows = Rows()
    for doc in tqdm(islice(docs, limit), desc="Building rows", total=limit, delay=2):
        rows.documents += 1
        target = prompts.target(doc)
        if not target:
            rows.empty += 1
            continue
        row = prompts.row(prompts.context(doc), target, max_length)
        if row is None:
            rows.too_long += 1
            continue
        rows.rows.append(row)
    if not rows.rows:
        raise TaskError(
            f"no training rows: of {rows.documents} documents, {rows.empty} without a target and "
            f"{rows.too_long} too long for max_length={max_length} were left out"
        )
    return rows
