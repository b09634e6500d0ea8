"""``--wide``: all that the page's tables say, in a terminal of any width."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from made_families import add_families
from made_sweeps import made_task, made_test, write_sweep
from rich.console import Console

from lm_eval_lora_boundary.report.data import SweepFound
from lm_eval_lora_boundary.report.full_answer import full_answer
from lm_eval_lora_boundary.report.layer_tables import layer_map_table, overlap_table
from lm_eval_lora_boundary.report.read import read_sweep
from lm_eval_lora_boundary.report.sentences import caveats, control_sentences
from lm_eval_lora_boundary.report.table import Table, family_table, marks, table

LAYERS = 6
FULL = LAYERS - 1


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SweepFound:
    folder = tmp_path_factory.mktemp("wide")
    entries = {}
    for name in ("answers", "summaries"):
        entries[name] = made_task(folder, name, documents=6, layers=LAYERS)
        made_test(folder, name, entries[name])
        entries[name] = add_families(entries[name], LAYERS)
    return read_sweep(write_sweep(folder, entries))


def printed(found: SweepFound, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    for part in full_answer(found, FULL):
        console.print(part)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


def page_tables(found: SweepFound) -> list[Table]:
    """Return the tables that the page has."""
    tables = []
    for task in found.tasks:
        marked = marks(task, FULL)
        assert task.test is not None
        tables += [table(task, rows, marked, FULL) for rows in (task.rows, task.test.rows)]
        tables += [family_table(task, family, marked, FULL) for family in task.families]
        tables.append(layer_map_table(task))
    tables.append(overlap_table(found.tasks))
    assert all(tables)
    return tables


@pytest.mark.parametrize("width", [60, 80, 160])
def test_every_cell_of_the_page_is_there_in_one_piece(found: SweepFound, width: int) -> None:
    lines = printed(found, width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    for content in page_tables(found):
        for line in content.lines:
            name, *cells = (f"{cell.text} {cell.note}".strip() for cell in line.cells)
            about = [each for each in lines if each.startswith(name)]
            assert all(any(cell in each for each in about) for cell in cells)
            assert any(line.mark in each for each in about)


def test_every_sentence_is_there(found: SweepFound) -> None:
    text = " ".join(" ".join(printed(found, 80)).split())
    for task in found.tasks:
        sentences = [*caveats(task, FULL, {}), *control_sentences(task.controls)]
        sentences += [
            each for answer in task.answers for each in (answer.question, answer.sentence)
        ]
        assert len(sentences) > 4
        assert all(" ".join(sentence.split()) in text for sentence in sentences)
    assert "on 150 validation documents, chosen by exact_match (higher is better)." in text
    assert "vs. whole: paired difference, 95 % interval" in text


def test_without_families_there_are_only_boundaries(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"summaries": made_task(tmp_path, documents=3, layers=3)})
    text = "\n".join(printed(read_sweep(tmp_path), 80))
    assert "3 boundaries on" not in text and "4 boundaries on" in text
    assert "Family" not in text and "layer's LoRA" not in text and "test split:" not in text
