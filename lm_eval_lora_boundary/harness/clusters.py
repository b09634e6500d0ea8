"""Documents that belong together, such as the segments of a translated text.

A task names the field of its documents that says so in its YAML, ``metadata: {cluster: docid}``.
Documents with the same value in it are a cluster. They resemble each other, so a limit should not
cut through them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from lm_eval.api.task import Task

from ..errors import TaskError
from ..files import NO_CLUSTERS
from ..upstream.lm_eval import sample_size

logger = logging.getLogger("lm_eval.lora_boundary")


def cluster_field(task: Task, requested: str | None = None) -> str | None:
    """Return the field by which a task's documents are grouped; None if each stands alone.

    A field that is the same in all documents of the split says nothing of what belongs together:
    copies of data sets that have lost their ids have such fields. A task's own is then ignored,
    with a warning.

    Args:
        task: The task, on the split that is evaluated.
        requested: A field, or ``none`` to ignore the task's own; None for the task's own.

    Raises:
        TaskError: The documents do not have the field, or the requested one is the same in all.
    """
    if requested == NO_CLUSTERS:
        return None
    metadata = getattr(task.config, "metadata", None)
    declared = metadata.get("cluster") if isinstance(metadata, Mapping) else None
    field = declared if requested is None else requested
    if field is None:
        return None
    names = _fields(task.eval_docs)
    if field in names:
        return str(field) if _differs(task, field, requested) else None
    expected = f"expected {'one of ' if names else ''}{', '.join([*names, NO_CLUSTERS])}"
    if requested is None:
        raise TaskError(
            f"task {task.task_name}: its metadata says cluster: {field}, which is not a field of "
            f"its documents; {expected}. Correct its YAML, or give cluster={NO_CLUSTERS}"
        )
    raise TaskError(
        f"cluster={field} is not a field of the documents of {task.task_name}; {expected}"
    )


def _differs(task: Task, field: str, requested: str | None) -> bool:
    """Return whether a field differs between a task's documents, if there are several.

    Raises:
        TaskError: It does not, and was requested.
    """
    values = _column(task.eval_docs, field)
    if len(values) < 2 or len(set(values)) > 1:
        return True
    if requested is not None:
        raise TaskError(
            f"cluster={field} is the same in all {len(values)} documents of {task.task_name}; "
            f"expected a field that differs between them, or {NO_CLUSTERS}"
        )
    logger.warning(
        "task %s: %s is the same in all %d documents, so it does not say which of them belong "
        "together, and they count as unrelated",
        *(task.task_name, field, len(values)),
    )
    return False


def documents(task: Task, limit: float | None, field: str | None) -> int | None:
    """Return how many of a task's first documents a limit takes.

    With a field, these are as many as the limit allows without a part of a cluster. If not even the
    first whole cluster is within the limit, it takes a part of one, and a warning says so.

    Args:
        task: The task, on the split that is evaluated.
        limit: Largest number of documents, or a share below 1; None for all documents.
        field: What :func:`cluster_field` returned.

    Returns:
        The number; None for all documents.
    """
    most: int | None = sample_size(task, limit)
    if most is None or field is None:
        return most
    values = _column(task.eval_docs, field)
    ends = _ends(values)
    whole = [end for end in ends if end <= most]
    if whole or not ends:
        return whole[-1] if whole else most
    logger.warning(
        "task %s: its first %d documents are a part of those that belong together by %s; the first "
        "%d would be whole",
        *(task.task_name, most, field, ends[0]),
    )
    return most


def keep_whole_clusters(task: Task, limit: float | None, field: str | None) -> None:
    """Make a limit take no part of a cluster: hide the documents that it would take besides.

    The task's evaluated split then ends earlier, so whatever applies the limit afterwards, lm-eval
    included, sees the same documents.
    """
    most, count = sample_size(task, limit), documents(task, limit, field)
    if limit is None or most is None or count is None or count >= min(most, len(task.eval_docs)):
        return
    logger.info(
        "task %s: %d documents instead of %d, so that those with the same %s stay together",
        *(task.task_name, count, most, field),
    )
    kept = count
    if limit < 1:
        # lm-eval takes the share of what is left, rounded up. One document more adds one or none.
        while math.ceil(kept * limit) < count:
            kept += 1
    docs = task.eval_docs
    first = docs.select(range(kept)) if isinstance(docs, Dataset) else list(docs)[:kept]
    # eval_docs is a property of the class; it returns one of these
    setattr(task, "test_docs" if task.has_test_docs() else "validation_docs", lambda: first)


def _ends(values: Sequence[str]) -> list[int]:
    """Return after how many documents no cluster is cut through, ascending."""
    last = {value: i for i, value in enumerate(values)}
    ends, reached = [], 0
    for i, value in enumerate(values):
        reached = max(reached, last[value])
        if reached == i:
            ends.append(i + 1)
    return ends


def _fields(docs: Any) -> list[str]:
    """Return the names of the fields that documents have."""
    if isinstance(docs, Dataset):
        return list(docs.column_names)
    first = next(iter(docs), None)
    return [str(name) for name in first] if isinstance(first, Mapping) else []


def _column(docs: Any, field: str) -> list[str]:
    """Return a field of all documents as text that is equal for equal values."""
    values = docs[field] if isinstance(docs, Dataset) else (doc.get(field) for doc in docs)
    return [repr(value) for value in values]
