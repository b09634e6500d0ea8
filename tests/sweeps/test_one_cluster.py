"""Sweeps whose documents all belong together, so that there is nothing to draw anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_tasks import COMMON, TASKS, made_row, write_rows

Sweep = Callable[..., dict[str, Any]]


@pytest.fixture
def sweep(run: Callable[..., dict[str, Any]], fast_tasks: None, tmp_path: Path) -> Sweep:
    """Return a function that sweeps over a task whose documents belong to the given stories."""

    def sweep(limit: int, validation: str, test: str) -> dict[str, Any]:
        for split, stories in {"train": "a", "validation": validation, "test": test}.items():
            rows = [{**made_row(split, i), "story": s} for i, s in enumerate(stories)]
            write_rows(tmp_path / f"{split}.jsonl", rows)
        (tmp_path / "stories.yaml").write_text(
            f"task: tiny_stories\n{COMMON.format(folder=tmp_path)}\n{TASKS['last_word']}\n"
            "metadata: {cluster: story}\n"
        )
        summary = run("tiny_stories", include_path=str(tmp_path), limit=limit, confirm=True)
        found: dict[str, Any] = summary["tasks"]["tiny_stories"]
        return found

    return sweep


def test_nothing_is_decided_by_a_part_of_one_cluster(sweep: Sweep, tmp_path: Path) -> None:
    found = sweep(2, validation="aabbbbc", test="aaabbcdd")
    assert found["clusters"] == {"field": "story", "count": 1}
    assert len({row["value"] for row in found["boundaries"]}) > 1
    assert found["not_chosen"] == (
        "all 2 validation documents have the same story and count as one, so nothing can be tested"
    )
    assert found["test"] is None  # no choice, nothing to confirm
    page = (tmp_path / "out/report.html").read_text("utf-8").replace("\u00a0", " ")
    assert "No verdict: all 2 validation documents have the same story" in page
    assert "--cluster none" in page


def test_nothing_is_confirmed_on_a_part_of_one_cluster(sweep: Sweep, tmp_path: Path) -> None:
    found = sweep(4, validation="abcd", test="eeeeef")
    assert found["clusters"] is None  # as many as documents
    assert found["test"]["clusters"] == {"field": "story", "count": 1}
    assert found["not_chosen"] == (
        "all 4 test documents have the same story and count as one, so nothing can be tested"
    )
    assert "--cluster none" in (tmp_path / "out/report.html").read_text("utf-8")
