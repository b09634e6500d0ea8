"""Names of tasks, directions and aggregations, as both lines of lm-eval write them."""

from __future__ import annotations

from typing import Any

import pytest

from lm_eval_lora_boundary.compare.task_facts import aggregations, directions, own_names

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
        (["all::other"], ["all::other"]),
    ],
)
def test_tasks_have_their_own_names_if_these_are_unique(keys: list[str], names: list[str]) -> None:
    expected = dict(zip(keys, names, strict=True)) | {"all": "all"}
    assert own_names(content(*keys)) == expected


def test_tasks_within_a_group_alone_keep_their_names() -> None:
    assert own_names(content("all::words", own="all::words"))["all::words"] == "all::words"


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
