"""What a sweep prints at its end: short, as wide as the terminal, and true."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from made_sweeps import made_task, made_test, write_sweep

from lm_eval_lora_boundary.report.read import read_sweep
from lm_eval_lora_boundary.report.rows_that_matter import MOST, rows_that_matter
from lm_eval_lora_boundary.report.short_answer import Line, short_answer
from lm_eval_lora_boundary.report.verdicts import WORSE, verdicts
from lm_eval_lora_boundary.report.write import write_report

LAYERS = 30
SETTINGS: dict[str, Any] = {
    "pretrained": "org/base",
    "peft": "org/adapter",
    "tasks": ["words"],
    "limit": 40,
    "boundaries": "all",
}

BUYS = [
    "Layers 0-25: 529,152 of 610,560 adapter parameters (87%), 2.1 MB instead of 2.4 MB.",
    "Unless merged, LoRA takes 1.06 instead of 1.22 million FLOPs per token.",
    "A smaller adapter saves disk space and download time, but no memory in vLLM.",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short") / "sweep"
    folder.mkdir()
    task = made_task(folder, "words", documents=40, layers=LAYERS)
    made_test(folder, "words", task)
    write_sweep(folder, {"words": task}, settings=SETTINGS, layers=LAYERS)
    return folder


def lines(folder: Path, **options: Any) -> list[Line]:
    return list(short_answer(folder, **options))


@pytest.mark.parametrize("width", [60, 72, 80])
def test_it_is_short_and_narrow(folder: Path, width: int) -> None:
    found = lines(folder, width=width)
    assert len(found) <= (25 if width == 80 else 32)
    # a path may be longer than a line of a command
    texts = [line.text for line in found if "--output /" not in line.text]
    assert max(map(len, texts)) <= width
    assert not any("…" in line.text for line in found)


def test_all_rows(folder: Path) -> None:
    rows = [
        line for line in lines(folder, all_rows=True) if "[" in line.text or "whole)" in line.text
    ]
    labels = [line.text.split("  ")[1] for line in rows]
    tested = ["none (base)", *(f"0–{k}" if k else "0" for k in range(LAYERS - 1)), "0–29 (whole)"]
    assert [label for label in labels if label in tested] == tested


def test_the_rows_say_what_the_file_says(folder: Path) -> None:
    (task,) = read_sweep(folder).tasks
    text = "\n".join(line.text for line in lines(folder, all_rows=True))
    for row in task.rows:
        label = "none (base)" if row.boundary == -1 else f"0–{row.boundary}"
        label = "0 " if row.boundary == 0 else label
        (line,) = re.findall(rf"^  {re.escape(label)}(?: \(whole\))? .*$", text, re.MULTILINE)
        assert f"{row.value:.3f}" in line
        if row.boundary != LAYERS - 1:
            assert row.delta_full is not None
            assert f"{row.delta_full:+.3f}".replace("-", "−").lstrip("+") in line
    verdict = verdicts(task, task.rows, LAYERS - 1)
    assert text.count("  worse") == list(verdict.values()).count(WORSE)


def test_one_line_at_least_is_bold_and_it_is_the_verdict(folder: Path) -> None:
    bold = [line.text for line in lines(folder) if line.bold]
    assert any("eep" in text or "score" in text or "No verdict" in text for text in bold)


def test_commands_can_be_copied(folder: Path) -> None:
    texts = [line.text for line in lines(folder)]
    start = next(i for i, text in enumerate(texts) if text.startswith("  lora-boundary"))
    command = shlex.split("\n".join(texts[start:]).replace("\\\n", " "))
    assert command[:2] in (["lora-boundary", "sweep"], ["lora-boundary", "export"])
    assert command[-2] == "--output" or command[1] == "export"


@pytest.mark.parametrize("kind", ["LoRA", "another kind"])
def test_what_a_cut_buys_is_as_the_sweep_found_it(kind: str, tmp_path: Path) -> None:
    task = made_task(tmp_path, "words", documents=40, layers=LAYERS)
    made_test(tmp_path, "words", task)
    task |= {"choice": 25, "choice_basis": "keeps the gain", "choice_reason": None}
    task["answers"]["keeps_gain"]["sentence"] = (
        "Boundary 25 keeps at least 90 % of the gain: 102 % of it [94 %, 112 %], on 30 test "
        "documents."
    )
    task["buys"] = BUYS if kind == "LoRA" else BUYS[:1]
    write_sweep(tmp_path, {"words": task}, settings=SETTINGS, layers=LAYERS)
    found = lines(tmp_path)
    assert len(found) <= 25
    text = " ".join(" ".join(line.text for line in found).split())
    assert BUYS[0] not in text  # the table has it
    assert all((sentence in text) == (kind == "LoRA") for sentence in BUYS[1:])
    page = write_report(tmp_path).read_text("utf-8")
    assert all((sentence in page) == (kind == "LoRA") for sentence in BUYS[1:])


@pytest.mark.parametrize(("repeats", "shown"), [(1, True), (20, False)])
def test_times_are_shown_if_there_is_room(tmp_path: Path, repeats: int, shown: bool) -> None:
    task = made_task(tmp_path, "words", documents=40, layers=LAYERS)
    made_test(tmp_path, "words", task)
    task |= {"choice": 25, "choice_basis": "keeps the gain", "buys": BUYS}
    task["answers"]["keeps_gain"]["sentence"] = "Boundary 25 keeps 102 % of the gain."
    write_sweep(tmp_path, {"words": task}, settings=SETTINGS, layers=LAYERS)
    sweep = json.loads((tmp_path / "sweep.json").read_text("utf-8"))
    weights = {key: sweep.get(key) for key in ("base_sha256", "adapter_sha256")}
    sentence = "A token takes 3.1 ms with the choice. " * repeats
    content = {**weights, "sentences": [{"cut": 25, "text": sentence.strip()}]}
    (tmp_path / "speed.json").write_text(json.dumps(content), "utf-8")
    found = [line.text for line in lines(tmp_path)]
    assert len(found) <= 25
    assert any("A token takes" in text for text in found) == shown
    assert any(BUYS[2][:30] in text for text in found)


def test_a_sweep_that_measured_nothing_shows_answers(tmp_path: Path) -> None:
    task = made_task(tmp_path, "words", documents=8, layers=4)
    task |= {"not_chosen": "all cuts score 0", "answers": {}, "choice": 3, "choice_basis": None}
    write_sweep(tmp_path, {"words": task}, settings=SETTINGS, layers=4)
    text = "\n".join(line.text for line in lines(tmp_path))
    assert "No verdict: all cuts score 0." in text
    assert text.count("gold answer: ") == text.count("response: ") == 3


def test_hostile_names_only_show(tmp_path: Path) -> None:
    name = "words\x1b[31m\n\x07"
    task = made_task(tmp_path, name, documents=8, layers=4)
    write_sweep(tmp_path, {name: task}, settings=SETTINGS, layers=4)
    for line in lines(tmp_path):
        assert not re.search(r"[\x00-\x1f\x7f]", line.text)


def test_rows_that_matter(folder: Path) -> None:
    (task,) = read_sweep(folder).tasks
    found = verdicts(task, task.rows, LAYERS - 1)
    for most in (4, 6, MOST, 100):
        rows = rows_that_matter(task, found, LAYERS - 1, most)
        names = [row.name for row in rows]
        assert names == sorted(names)
        assert {-1, task.best, task.choice, LAYERS - 1} <= set(names)
        assert len(rows) == min(most, len(task.rows)) or most < 4
    worse = [name for name in found if found[name] == WORSE]
    assert worse
    assert max(worse) in [row.name for row in rows_that_matter(task, found, LAYERS - 1)]
