"""The split that is evaluated, if a task in Python has documents of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lm_eval.api.task import ConfigurableTask

from lm_eval_lora_boundary.harness.tasks import LoadedTasks

DOCS = {"validation": ["a", "b"], "test": ["c"]}


class OwnDocuments(ConfigurableTask):  # type: ignore[misc]
    """A task whose config names no split."""

    VERSION = 0

    def __init__(self) -> None:
        self._config = SimpleNamespace(
            task="own", test_split=None, validation_split=None, metadata=None
        )

    def has_validation_docs(self) -> bool:
        return True

    def has_test_docs(self) -> bool:
        return True

    def validation_docs(self) -> list[str]:
        return DOCS["validation"]

    def test_docs(self) -> list[str]:
        return DOCS["test"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_split_that_is_asked_for_is_evaluated(split: str) -> None:
    manager: Any = SimpleNamespace(
        load=lambda names: {"tasks": {"own": OwnDocuments()}, "groups": {}, "group_map": {}}
    )
    (task,) = LoadedTasks(manager, ["own"], split).tasks.values()
    assert task.eval_docs == DOCS[split]
