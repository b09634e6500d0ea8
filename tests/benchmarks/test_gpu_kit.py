"""The sections of ``benchmarks/gpu.py`` in small, so that they work when there is a GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpu
import pytest
import torch
from gpu_kit import bases, exactness, page, sections
from gpu_kit.models import small
from gpu_kit.rows import Row, as_json, at_least, at_most, from_json, table
from gpu_kit.setting import Setting

# what must hold on a CPU, too; speed is not among it
EXACT = ("exactness", "attention", "placement", "precision", "waiting")


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(torch.device("cpu"), True, tmp_path)


@pytest.mark.parametrize("name", sections.SECTIONS)
def test_a_section_in_small(name: str, setting: Setting) -> None:
    rows = sections.SECTIONS[name](setting)
    assert rows
    assert from_json(json.loads(json.dumps(as_json(rows)))) == rows
    if name in EXACT:
        assert any(row.reached for row in rows)
        assert not [row for row in rows if row.reached is False]


def test_a_quantized_base_is_compared(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages for it are rarely there, so a base model that is not quantized must do."""
    plain: list[Any] = [("plain numbers", "torch", lambda: None), ("other", "not_there", int)]
    monkeypatch.setattr(bases, "_quantizations", lambda: plain)
    _, compared, absent = bases.quantized(setting)
    assert compared.what.startswith("plain numbers, float32: responses")
    assert compared.reached
    assert absent.value == "not run: no not_there"


def test_the_kit_sees_a_wrong_number(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the sections above would show nothing."""
    one_too_low = exactness.by_hand
    monkeypatch.setattr(
        exactness, "by_hand", lambda model, where, boundary: one_too_low(model, where, boundary - 1)
    )
    rows = exactness._against_peft(small(setting), setting, [-1, 0, 3])
    # below the base model, there is nothing to drop
    assert [row.reached for row in rows] == [True, False, False]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    ran: list[str] = []

    def section(name: str) -> Any:
        def measure(setting: Setting) -> list[Row]:
            ran.append(name)
            if name == "precision" and ran.count(name) == 1:
                raise RuntimeError("the card is lost")
            return [at_most("time", 1.0, 2.0, "s"), at_least("speed", 1.0, 2.0)]

        return measure

    for name in sections.SECTIONS:
        monkeypatch.setitem(sections.SECTIONS, name, section(name))
    yield ran


def test_a_section_runs_once_and_a_failed_one_again(counted: list[str], tmp_path: Path) -> None:
    words = ["--tiny", "--device", "cpu", "--output", str(tmp_path), "exactness", "precision"]
    with pytest.raises(SystemExit, match="failed: precision"):
        gpu.main(words)
    assert counted == ["exactness", "precision"]
    assert {file.name for file in tmp_path.iterdir()} == {"exactness.json"}
    gpu.main(words)
    assert counted == ["exactness", "precision", "precision"]
    gpu.main([*words, "--again"])
    assert counted[3:] == ["exactness", "precision"]
    found = json.loads((tmp_path / "exactness.json").read_text())
    assert found["conditions"]["tiny"] is True
    assert [row["reached"] for row in found["rows"]] == [True, False]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["spoon"], "unknown section spoon; expected exactness"),
        (["--tiny", "--device", "cpu"], "--tiny needs --output"),
        (["--device", "cpu"], "torch finds no GPU here"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(words)
    assert message in capsys.readouterr().err


def test_the_page_says_what_was_measured(counted: list[str], tmp_path: Path) -> None:
    assert "Nothing was measured on a GPU yet" in page.page(page.results(tmp_path))
    gpu.main(["--tiny", "--device", "cpu", "--output", str(tmp_path), "exactness"])
    (tmp_path / "remarks.md").write_text("It is fast.\n")
    text = page.page(page.results(tmp_path), page.remarks(tmp_path))
    assert "Nothing was measured" not in text
    assert text.index("It is fast.") < text.index("| time |")
    assert "\nPrecision, attention, " in text[text.index("## Not measured yet") :]
    assert "| time | 1 s | ≤ 2 s | pass |" in text
    assert "| speed | 1 | ≥ 2 | miss |" in text
    assert f"torch {torch.__version__}" in text
    assert set(page.ABOUT) >= sections.SECTIONS.keys()


def test_the_page_is_that_of_the_results() -> None:
    docs = Path(gpu.__file__).parents[1] / "docs"
    expected = page.page(page.results(docs / "gpu"), page.remarks(docs / "gpu"))
    assert (docs / "gpu.md").read_text("utf-8") == expected


def test_a_table_has_a_line_for_each_row() -> None:
    lines = table([Row("a", 0.00123, "s"), Row("b", 12345.6), Row("c", 7, "", "7", True)])
    assert lines.splitlines()[2:] == ["| a | 0.00123 s |  |  |", "| b | 12,346 |  |  |",
                                      "| c | 7 | 7 | pass |"]  # fmt: skip
