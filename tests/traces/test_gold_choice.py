"""The gold choice of multiple-choice tasks."""

from __future__ import annotations

from typing import Any

import pytest
from lm_eval.api.task import ConfigurableTask, Task

from lm_eval_lora_boundary.traces.gold import gold_choice

CHOICES = ["no", "yes", "maybe"]


class Configured(ConfigurableTask):
    def __init__(self, text: Any, target: Any, *, multiple_input: bool = False) -> None:
        self.text, self.target = text, target
        self.multiple_input = self._multiple_inputs = int(multiple_input)

    def doc_to_text(self, doc: Any, *_: Any) -> Any:
        return self.text

    def doc_to_target(self, doc: Any, *_: Any) -> Any:
        return self.target

    def doc_to_choice(self, doc: Any, *_: Any) -> Any:
        return CHOICES


class InPython(Task):
    has_training_docs = has_validation_docs = has_test_docs = lambda self: False
    construct_requests = process_results = lambda self, *_: None
    aggregation = higher_is_better = lambda self: {}

    def __init__(self) -> None:
        pass

    def doc_to_text(self, doc: Any) -> str:
        return "question"

    def doc_to_target(self, doc: Any) -> str:
        return f" {doc['choices'][doc['gold']]}"

    def doc_to_choice(self, doc: Any) -> None:
        """Return nothing, as where the config has no choices; 0.4 does not ask."""


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (0, 0),
        (2, 2),
        ("yes", 1),
        ([2, 0], 2),
        (["maybe", "no"], 2),
        (3, None),
        (-100, None),
        ("perhaps", None),
        ([], None),
        (None, None),
    ],
)
def test_numbers_texts_and_lists_name_a_choice(target: Any, expected: int | None) -> None:
    assert gold_choice(Configured("question", target), {}, []) == expected


def test_if_choices_are_prompts_one_of_them_is_right() -> None:
    """In 0.4, the text names it; in 0.5, the texts are the prompts, and the target names one."""
    new = ConfigurableTask is Task
    given = (["one", "two"], 1) if new else (1, " the ending")
    assert gold_choice(Configured(*given, multiple_input=True), {}, []) == 1


def test_a_task_in_python_names_the_choice_by_its_target() -> None:
    doc = {"choices": CHOICES, "gold": 2}
    continuations = [f" {choice}" for choice in CHOICES]
    assert gold_choice(InPython(), doc, continuations) == 2
    assert gold_choice(InPython(), doc, [" a", " b"]) is None
