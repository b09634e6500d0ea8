"""Names of tasks, directions and aggregations, as both lines of lm-eval write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lm_eval_lora_boundary.compare.runs import read_run
from lm_eval_lora_boundary.compare.task_facts import aggregations, directions

SOURCE = """@cache
def f1(response: str, answer: str) -> float:
    return 0.0
"""
CONFIG = {
    "task": "words",
    "metric_list": [
        {"metric": SOURCE, "aggregation": "mean", "higher_is_better": True},
        {"metric": "length", "aggregation": "mean", "higher_is_better": None},
        {"metric": "loss"},
    ],
}
KNOWN = {"f1": True, "length": True, "loss": False}


def content(*keys: str, own: str = "words") -> dict[str, Any]:
    return {
        "results": {key: {} for key in (*keys, "all")},
        "configs": {key: CONFIG | {"task": own} for key in keys},
        "group_subtasks": {"all": list(keys)},
        "higher_is_better": dict.fromkeys((*keys, "all"), KNOWN),
    }


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["words"], ["words"]),  # 0.4
        (["all::words"], ["words"]),
        (["all::words", "more::words"], ["all::words", "more::words"]),
        (["all::words", "words"], ["all::words", "words"]),
        (["all::other"], ["all::other"]),  # only the group defines it
    ],
)
def test_tasks_have_their_own_names_if_these_are_unique(
    keys: list[str], names: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "results_2026-01-01T00-00-00.000000.json"
    found = content(*keys)
    found["results"] = {key: {"f1,none": number} for number, key in enumerate(found["results"])}
    file.write_text(json.dumps(found))
    run = read_run(file)
    assert list(run.tasks) == [*keys, "all"] and run.subtasks == {"all": keys}
    named = run.by_own_names()
    assert list(named.tasks) == [*names, "all"] and named.subtasks == {"all": names}
    assert list(named.tasks.values()) == list(run.tasks.values())


@pytest.mark.parametrize("key", ["words", "all::words"])
def test_a_direction_is_what_the_task_says(key: str) -> None:
    expected = {"f1": True, "length": None, "loss": False}
    for name in (key, "all"):
        assert directions(content(key), name) == expected
    assert directions({"higher_is_better": {"words": {"acc": "yes", "f1": True}}}, "words") == {
        "acc": None,
        "f1": True,
    }
    assert directions({}, "words") == {}


def test_a_function_has_its_name() -> None:
    assert aggregations(CONFIG) == {"f1": "mean", "length": "mean"}
    assert aggregations({}) == aggregations({"metric_list": "all"}) == {}
