"""What a sweep records for ``boundary=auto``, and prints in the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lm_eval_lora_boundary.report.terminal import tables
from lm_eval_lora_boundary.stats.permutation import LEVEL
from lm_eval_lora_boundary.sweeps.save import save
from lm_eval_lora_boundary.sweeps.settings import SweepSettings
from lm_eval_lora_boundary.sweeps.summary import decide

FULL = 3


def row(boundary: int, delta: float | None, p_value: float | None) -> dict[str, Any]:
    return {
        "boundary": boundary,
        "value": 0.5 + (delta or 0.0),
        "stderr": 0.01,
        "delta_full": delta,
        "ci_low": delta,
        "ci_high": delta,
        "p_value": p_value,
        "p_holm": p_value,
        "win_rate": 0.5,
        "loss_risk": 0.25,
        "delta_base": delta,
        "base_ci_low": None,
        "base_ci_high": None,
        "metrics": {"acc,none": 0.5},
    }


def summary(delta: float, p_value: float, *, higher_is_better: bool = True) -> dict[str, Any]:
    entry = {
        "metric": "acc,none",
        "higher_is_better": higher_is_better,
        "split": "validation",
        "documents": 20,
        "boundaries": [row(1, 0.1, 0.01), row(FULL, 0.0, None)],
        "best": 1,
        "smallest_equivalent": 1,
        "collapse": None,
        "optimism": None,
        "selection": "other documents",
        "test": {
            "split": "test",
            "documents": 30,
            "boundaries": [row(1, delta, p_value), row(FULL, 0.0, None)],
        },
        "not_chosen": None,
    }
    return {"signature": "s", "layers": FULL + 1, "tasks": {"words": decide(entry, FULL)}}


def model(folder: Path) -> Any:
    adapter = SimpleNamespace(path=folder, sha256="a", config_sha256="c")
    return SimpleNamespace(layers=FULL + 1, adapter=adapter, base_sample="b")


def settings(folder: Path) -> SweepSettings:
    return SweepSettings(pretrained="base", peft=str(folder), tasks=("words",), save=True)


def captions(found: dict[str, Any]) -> str:
    return " ".join(str(table.caption or "") for table in tables(found))


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("p_value", [0.001, 0.05, 1 - LEVEL])  # all reject, as in the intervals
def test_a_best_boundary_that_is_worse_on_the_test_split_is_not_recorded(
    tmp_path: Path, p_value: float, higher_is_better: bool
) -> None:
    worse = -0.2 if higher_is_better else 0.2
    found = summary(worse, p_value, higher_is_better=higher_is_better)
    save(model(tmp_path), found, settings(tmp_path))
    record = json.loads((tmp_path / "lora_boundary.json").read_text())
    assert (record["boundary"], record["best"], record["delta_full"]) == (FULL, 1, 0.0)
    assert "significantly worse than the whole adapter on the test split" in record["reason"]
    assert "Keep the whole adapter (boundary 3): boundary 1" in captions(found)


@pytest.mark.parametrize(("delta", "p_value"), [(0.2, 0.001), (-0.2, 0.06), (0.0, 0.001)])
def test_any_other_best_boundary_is_recorded(tmp_path: Path, delta: float, p_value: float) -> None:
    found = summary(delta, p_value)
    save(model(tmp_path), found, settings(tmp_path))
    record = json.loads((tmp_path / "lora_boundary.json").read_text())
    assert (record["boundary"], record["reason"], record["delta_full"]) == (1, None, delta)
    assert "Keep the whole adapter" not in captions(found)


def test_the_table_shows_the_difference_to_the_base_and_the_risk_of_loss() -> None:
    table, _ = tables(summary(0.2, 0.001))
    columns = {str(column.header): list(column.cells) for column in table.columns}
    assert columns["vs. base model [95 %]"][0] == "+0.100"
    assert columns["risk"] == ["25%", "25%"]
    assert "risk: how often it is then worse than the whole" in str(table.caption)
