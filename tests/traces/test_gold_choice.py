"""The gold choice of multiple-choice tasks."""

from __future__ import annotations

from typing import Any

import pytest
from lm_eval.api.task import ConfigurableTask, MultipleChoiceTask

from lm_eval_lora_boundary.traces.gold import gold_choice

CHOICES = ["no", "yes", "maybe"]


class Configured(ConfigurableTask):
    def __init__(self, text: Any, target: Any, *, multiple_input: bool = False) -> None:
        self.text, self.target, self.multiple_input = text, target, int(multiple_input)

    def doc_to_text(self, doc: Any, *_: Any) -> Any:
        return self.text

    def doc_to_target(self, doc: Any, *_: Any) -> Any:
        return self.target

    def doc_to_choice(self, doc: Any, *_: Any) -> Any:
        return CHOICES


class InPython(MultipleChoiceTask):
    has_training_docs = has_validation_docs = has_test_docs = lambda self: False

    def __init__(self) -> None:
        pass

    def doc_to_text(self, doc: Any) -> str:
        return "question"


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


def test_if_choices_are_prompts_the_text_names_one() -> None:
    assert gold_choice(Configured(1, " the ending", multiple_input=True), {}, []) == 1


def test_a_task_in_python_names_the_choice_by_its_target() -> None:
    doc = {"choices": CHOICES, "gold": 2}
    continuations = [f" {choice}" for choice in CHOICES]
    assert gold_choice(InPython(), doc, continuations) == 2
    assert gold_choice(InPython(), doc, [" a", " b"]) is None
