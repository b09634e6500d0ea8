"""Notes stand at the top of the report."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_sweeps import made_task, write_sweep

from lm_eval_lora_boundary.errors import OutputError
from lm_eval_lora_boundary.report.read import read_sweep
from lm_eval_lora_boundary.report.write import write_report

TEXTS = ['the first prompt begins with 1 "<s>", 2 "</li>"', "a & b; give --pretrained org/base"]


class _Texts(HTMLParser):
    """Collects the notes and where the first task begins."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.before_tasks = True
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = (tag == "ul" and ("class", "notes") in attrs) or (
            self._inside and tag in ("li", "b")
        )
        if self._inside and tag == "li":
            self.notes.append("")
        self.before_tasks &= tag != "section" or bool(self.notes)

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "ul"

    def handle_data(self, data: str) -> None:
        if self._inside and self.notes:
            self.notes[-1] += data


def test_notes_are_at_the_top(tmp_path: Path) -> None:
    task = made_task(tmp_path, layers=4, documents=6)
    notes = [{"kind": "any", "text": text} for text in TEXTS]
    folder = write_sweep(tmp_path, {"summaries": task}, layers=4, notes=notes)
    found = _Texts()
    found.feed(write_report(folder).read_text(encoding="utf-8"))
    assert [note.strip() for note in found.notes] == [f"note: {text}" for text in TEXTS]
    assert found.before_tasks


def test_sweeps_of_earlier_versions_have_none(tmp_path: Path) -> None:
    task = made_task(tmp_path, layers=4, documents=6)
    assert read_sweep(write_sweep(tmp_path, {"summaries": task}, layers=4)).notes == ()


@pytest.mark.parametrize("notes", ["x", [{"kind": "any"}], [1]])
def test_damaged_notes_are_refused(tmp_path: Path, notes: object) -> None:
    task = made_task(tmp_path, layers=4, documents=6)
    folder = write_sweep(tmp_path, {"summaries": task}, layers=4, notes=notes)
    with pytest.raises(OutputError, match="expected"):
        read_sweep(folder)
