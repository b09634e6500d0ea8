"""``sweep.csv`` holds what ``sweep.json`` holds, a row for each cut."""

from __future__ import annotations

import csv
import io
from typing import Any

from lm_eval_lora_boundary.sweeps.rows_csv import rows_csv


def row(boundary: int | None, cut: str, value: float | None, **metrics: float) -> dict[str, Any]:
    return {"boundary": boundary, "cut": cut, "value": value, "metrics": metrics}


ENTRY = {
    "metric": "f1,none",
    "split": "validation",
    "boundaries": [row(-1, "none", 0.25, f1=0.25), row(2, "0-2", 0.5, f1=0.5)],
    "families": {"random:3": {"kind": "order", "cuts": [row(None, "0+2", None)]}},
    "test": {"split": "test", "boundaries": [row(2, "0-2", 0.75)], "cuts": []},
}
SUMMARY: dict[str, Any] = {"layers": 4, "tasks": {"=1+1": ENTRY}}


def read(summary: dict[str, Any]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(rows_csv(summary))))


def test_every_row_is_there_once() -> None:
    found = [(each["split"], each["family"], each["cut"], each["value"]) for each in read(SUMMARY)]
    assert found == [
        ("validation", "upper", "none", "0.25"),
        ("validation", "upper", "0-2", "0.5"),
        ("validation", "random:3", "0+2", ""),
        ("test", "upper", "0-2", "0.75"),
    ]
    assert [each["metrics/f1"] for each in read(SUMMARY)] == ["0.25", "0.5", "", ""]


def test_control_tasks_follow() -> None:
    control = {
        "metric": "acc,none",
        "split": "test",
        "boundaries": [row(1, "0-1", 1.0)],
        "cuts": [],
    }
    *_, last = read(SUMMARY | {"control_tasks": {"other": control}})
    assert (last["task"], last["role"], last["metric"]) == ("other", "control", "acc,none")


def test_a_spreadsheet_computes_nothing() -> None:
    assert {each["task"] for each in read(SUMMARY)} == {"'=1+1"}
