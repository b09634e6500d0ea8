"""The page: the same bytes from the same records, and no number but theirs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_up_records import write_records

from replication.comparing import Value
from replication.page import QUESTIONS, write_page
from replication.plan import DATA
from replication.questions.behaviour import KEPT
from replication.questions.behaviour import given_back as given_back_verdict
from replication.questions.rivals import all_beaten
from replication.questions.training import NO_GAIN, explains
from replication.readme import write_readme
from replication.study import Study
from replication.text import NOT_SUPPORTED, OPEN, SUPPORTED, summary, verdict

ROOT = Path(__file__).resolve().parents[2]


def test_the_same_records_give_the_same_bytes(tmp_path):
    folder = tmp_path / "replication"
    write_records(folder, documents=20)
    page = tmp_path / "page.md"
    written = []
    for _ in range(2):
        write_page(Study(folder), page)
        files = [page, *sorted(folder.glob("*.svg"))]
        written.append([file.read_bytes() for file in files])
    assert len(written[0]) == 5
    assert written[0] == written[1]
    text = page.read_text()
    assert "Not run yet" not in text
    assert "nan" not in text
    assert all("![" in text and file.name in text for file in files[1:])


def test_without_records_the_page_says_so(tmp_path):
    write_page(Study(tmp_path / "replication"), tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "It has not been run yet" in text
    assert "|" not in text


def test_the_page_says_which_rules_were_changed_with_these_records(tmp_path):
    folder, page = tmp_path / "replication", tmp_path / "page.md"
    write_records(folder, documents=20)
    for data in DATA[:-1]:
        shutil.rmtree(folder / data.name)
    study = Study(folder)
    write_page(study, page)
    assert "Ties are no gains." not in page.read_text()
    (folder / "changes.md").write_text("Changed: Ties are no gains.\n")
    write_page(study, page)
    rules, _, rest = page.read_text().partition("\n\nChanged: Ties are no gains.\n\n### ")
    assert "Verdicts follow rules." in rules
    assert rest


def test_records_of_some_steps_are_enough(tmp_path):
    folder = tmp_path / "replication"
    write_records(folder, documents=20)
    for path in folder.rglob("*.json"):
        if path.stem not in ("train", "choose"):
            path.unlink()
    write_page(Study(folder), tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "- SAMSum: trace, other orders, test, test with epoch 1, test with epoch 2, " in text
    assert "training with LoRA in the lower layers only" in text
    assert "How far does the chosen boundary move?" in text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.2, SUPPORTED),
        (-0.1, 0.005, NOT_SUPPORTED),
        (-0.1, 0.1, OPEN),
        (-0.2, -0.1, NOT_SUPPORTED),
    ],
)
def test_the_rule_for_verdicts(low, high, expected):
    assert verdict(Value((low + high) / 2, low, high, 50), 0.01) == expected


def test_verdicts_say_where():
    assert summary([("a", SUPPORTED), ("b", OPEN), ("c", SUPPORTED)]) == (
        "Supported: a and c. Not decidable at this scale: b."
    )
    assert summary([("a", "none named"), ("b", OPEN)]) == (
        "Not decidable at this scale: b. None named: a."
    )
    assert summary([(("a", "x"), OPEN), (("b", "x"), OPEN), (("a", "y"), OPEN)]) == (
        "Not decidable at this scale: a (x and y) and b (x)."
    )
    assert summary([]) == "Not run yet."


@pytest.mark.parametrize(
    ("gains", "at_most", "expected"),
    [
        ([(0.01, 0.2), (0.02, 0.3)], [0.25, 0.35], SUPPORTED),
        ([(0.01, 0.2), (-0.02, 0.3)], [0.25, 0.35], OPEN),
        ([(0.01, 0.2), (-0.02, 0.005)], [0.25, 0.02], OPEN),  # not once all rivals are allowed for
        ([(0.01, 0.2), (-0.02, 0.005)], [0.25, 0.008], NOT_SUPPORTED),
        ([(0.01, 0.2), (float("nan"), float("nan"))], [0.25, float("nan")], OPEN),
    ],
)
def test_all_rivals_have_to_be_beaten(gains, at_most, expected):
    assert all_beaten([Value(sum(ends) / 2, *ends, 50) for ends in gains], at_most, 0.01) == (
        expected
    )


@pytest.mark.parametrize(
    ("gain", "over_other", "expected"),
    [
        ((0.01, 0.2), (-0.1, 0.005), SUPPORTED),
        ((0.01, 0.2), (0.02, 0.1), NOT_SUPPORTED),
        ((0.01, 0.2), (-0.1, 0.1), OPEN),
        ((-0.01, 0.2), (-0.1, 0.005), NO_GAIN),
        ((0.0, 0.0), (0.02, 0.1), NO_GAIN),  # the whole adapter itself
    ],
)
def test_only_a_gain_can_be_explained(gain, over_other, expected):
    found = [Value(sum(ends) / 2, *ends, 50) for ends in (gain, over_other)]
    assert explains(*found, 0.01) == expected


@pytest.mark.parametrize(
    ("lost", "given_back", "expected"),
    [
        ((-0.3, -0.1), (0.05, 0.2), SUPPORTED),
        ((-0.3, -0.1), (-0.05, 0.2), OPEN),
        ((-0.3, 0.1), (0.05, 0.2), OPEN),  # nothing is shown to be lost, nor to be kept
        ((0.1, 0.3), (0.05, 0.2), KEPT),
        ((0.1, 0.3), (-0.2, -0.05), KEPT),
        ((-0.3, 0.1), (-0.2, -0.05), OPEN),
        ((-0.3, -0.1), (-0.2, -0.05), NOT_SUPPORTED),
    ],
)
def test_a_cut_gives_back_only_what_was_lost(lost, given_back, expected):
    forgotten, gain = (Value(sum(ends) / 2, *ends, 50) for ends in (lost, given_back))
    assert given_back_verdict(forgotten, gain) == expected


def test_the_readme_gets_two_sentences_and_a_picture(tmp_path):
    folder = tmp_path / "docs/replication"
    write_records(folder, documents=20)
    readme = tmp_path / "README.md"
    marks = (
        "<!-- written by `make replicate-docs`; do not edit -->",
        "<!-- end of what was written -->",
    )
    readme.write_text(f"above\n{marks[0]}\nold\n{marks[1]}\nbelow\n")
    for _ in range(2):
        write_readme(Study(folder), tmp_path / "docs/replication.md", readme)
    above, first, *found, last, below, end = readme.read_text().split("\n")
    assert (above, first, last, below, end) == ("above", marks[0], marks[1], "below", "")
    sentences, empty, picture = found
    assert all(data.title in sentences for data in DATA)
    assert sentences.count(". ") == 1
    assert not empty
    assert picture.endswith("](docs/replication/score.svg)")
    assert "not tested yet" not in sentences
    for path in (folder / "wmt23").rglob("test.json"):
        path.unlink()
    write_readme(Study(folder), tmp_path / "docs/replication.md", readme)
    assert "WMT23: not tested yet" in readme.read_text()
    readme.write_text("no marks\n")
    with pytest.raises(ValueError, match="expected the lines"):
        write_readme(Study(folder), tmp_path / "docs/replication.md", readme)


def test_every_question_has_another_heading(records):
    study = Study(records)
    found = [question(study) for question in QUESTIONS]
    assert len({each.question for each in found}) == len(QUESTIONS)
    assert all(len(row) == len(each.headings) for each in found for row in each.rows)


def test_the_page_of_the_repository_is_that_of_its_records(tmp_path):
    published = ROOT / "docs/replication.md"
    folder = tmp_path / "docs/replication"
    records = ROOT / "docs/replication"
    shutil.copytree(records, folder, ignore=shutil.ignore_patterns("*.svg"))
    readme = tmp_path / "README.md"
    readme.write_text((ROOT / "README.md").read_text("utf-8"), "utf-8")
    study = Study(folder)
    write_page(study, tmp_path / "docs/replication.md")
    write_readme(study, tmp_path / "docs/replication.md", readme)
    assert (tmp_path / "docs/replication.md").read_text() == published.read_text()
    assert readme.read_text() == (ROOT / "README.md").read_text()
    for picture in folder.glob("*.svg"):
        assert picture.read_bytes() == (records / picture.name).read_bytes()
