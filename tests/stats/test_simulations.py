"""The tables of docs/statistics.md: they are those of the simulations, and hold when repeated."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FOUND = json.loads((ROOT / "docs/simulations.json").read_text("utf-8"))
REPEATS = {"decision": 4, "smallest": 10}  # the slow ones
_OTHERS = 20


@pytest.fixture(scope="module")
def simulate() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("simulate")


def share(cell: Any) -> float | None:
    """Return a cell in percent as a share; None for any other, such as a bias."""
    text = str(cell)
    return float(text[:-2]) / 100 if text.endswith(" %") and text[0].isdigit() else None


def column(name: str, heading: str) -> list[float]:
    return [found for row in FOUND[name]["rows"] if (found := share(row[heading])) is not None]


def test_the_page_has_the_tables_of_the_simulations(simulate: ModuleType) -> None:
    page = (ROOT / "docs/statistics.md").read_text("utf-8")
    assert page == simulate.filled(page, FOUND)
    assert FOUND.keys() == simulate.SIMULATIONS.keys()
    for name, (_, repeats) in simulate.SIMULATIONS.items():
        assert f"<!-- simulated: {name} -->\n|" in page
        assert FOUND[name]["repeats"] == repeats


@pytest.mark.parametrize("name", FOUND)
def test_a_repetition_agrees(name: str, simulate: ModuleType) -> None:
    """Shares within four standard errors of a share from so few repeats; luck within a half."""
    repeats = REPEATS.get(name, _OTHERS)
    rows = simulate.SIMULATIONS[name][0](repeats)
    assert len(rows) == len(FOUND[name]["rows"])
    for row, expected in zip(rows, FOUND[name]["rows"], strict=True):
        assert row.keys() == expected.keys()
        for heading, cell in row.items():
            if heading in ("inflated by", "said") and name == "luck":
                assert float(cell) == pytest.approx(float(expected[heading]), rel=0.5)
            before, now = share(expected[heading]), share(cell)
            if before is None or now is None:
                continue
            if name == "coverage_binary":  # computed, not drawn
                assert now == before
            error = math.sqrt(max(before * (1 - before), 0.02) / repeats)
            assert abs(now - before) <= 4 * error, (row, expected)


def test_what_is_claimed_holds() -> None:
    """Rates of error within simulation error of 5 %: three standard errors."""
    for name, heading in (
        ("smallest", "truly loses it"),
        ("at_the_margin", "loses the margin"),
        *(("equal_cuts", f"{number} documents") for number in (20, 50, 200)),
        ("clusters", "drawn by document"),
        ("collapse", "as good, but said to be worse"),
        ("decision", "better, wrongly"),
        ("decision", "keeps the gain, wrongly"),
    ):
        limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / FOUND[name]["repeats"])
        assert max(column(name, heading)) <= limit, (name, heading)
    seen = column("power", "seen")
    assert min(seen) >= 0.7
    assert max(seen) <= 0.9
    biases = [abs(float(row["bias"][:-2].replace("−", "-"))) for row in FOUND["luck"]["rows"]]
    assert sorted(biases)[len(biases) // 2] <= 8
