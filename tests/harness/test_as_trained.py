"""Which prompt a sweep or a trace uses: what the user says, and else that of the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lm_eval_lora_boundary.errors import TaskError
from lm_eval_lora_boundary.harness.as_trained import prompt_settings


@pytest.fixture
def adapter(tmp_path: Path) -> str:
    """Return an adapter's folder whose training had a chat template."""
    settings = {"task": "tickets", "apply_chat_template": True, "num_fewshot": 0}
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "training.json").write_text(json.dumps({"settings": settings}))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("given", "template", "left_out"),
    [
        ({}, True, False),
        ({"apply_chat_template": True}, True, False),
        ({"apply_chat_template": False}, False, True),
        ({"no_template": True}, False, True),
    ],
)
def test_the_template_is_that_of_the_training_unless_it_is_left_out(
    given: dict[str, Any], template: bool, left_out: bool, adapter: str
) -> None:
    found = prompt_settings(adapter, None, tasks="tickets", **given)
    assert (found["apply_chat_template"], found["no_template"]) == (template, left_out)


def test_contradictions_are_refused(adapter: str) -> None:
    with pytest.raises(TaskError, match="--apply-chat-template and --no-template are both given"):
        prompt_settings(adapter, None, tasks="a", apply_chat_template=True, no_template=True)
    with pytest.raises(TaskError, match=r"tasks=a,b and data=x\.jsonl are both given"):
        prompt_settings(adapter, None, tasks=" a, b", data="x.jsonl")


def test_tasks_are_a_list_or_text_with_commas(adapter: str) -> None:
    for tasks in ("a,b", ["a", "b"], " b , a , b"):
        assert set(prompt_settings(adapter, None, tasks=tasks)["tasks"]) == {"a", "b"}
    assert prompt_settings(adapter, None)["tasks"] == ("tickets",)
