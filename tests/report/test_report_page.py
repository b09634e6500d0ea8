"""The page in a real browser."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from made_sweeps import (
    SIGNATURE,
    VOCABULARY,
    made_task,
    made_test,
    made_trace,
    write_sweep,
)

from lm_eval_lora_boundary.report.write import write_report

LAYERS = 8
FULL = LAYERS - 1
DOCUMENTS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    first = made_task(folder, "answers", documents=DOCUMENTS, layers=LAYERS)
    made_test(folder, "answers", first, documents=20)
    second = made_task(
        folder, "summaries", documents=30, layers=LAYERS, binary=False, metric="rouge1", seed=3
    )
    write_sweep(folder, {"answers": first, "summaries": second})
    trace = {"signature": SIGNATURE, "tasks": {"answers": made_trace(LAYERS)}}
    (folder / "trace.json").write_text(json.dumps(trace))
    write_report(folder)
    return folder


@pytest.fixture
def page(folder: Path, chromium: Browser) -> Browser:
    chromium.open(folder / "report.html")
    chromium.documents(0)
    return chromium


def answers(folder: Path, task: str, metric: str) -> dict[int, dict[int, tuple[str, float]]]:
    """Return lm-eval's response and value by document and boundary."""
    found: dict[int, dict[int, tuple[str, float]]] = {}
    for boundary in range(-1, LAYERS):
        (file,) = (folder / f"boundary={boundary}").glob(f"samples_{task}_*")
        for line in file.read_text().splitlines():
            sample = json.loads(line)
            given = (sample["resps"][0][0], sample[metric])
            found.setdefault(sample["doc_id"], {})[boundary] = given
    return found


def sweep(folder: Path, task: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "sweep.json").read_text())["tasks"][task]
    return found


def label(folder: Path, task: str, boundary: int) -> str:
    """Return the name of a boundary on the page."""
    name = {-1: "base model", FULL: "whole adapter"}.get(boundary, f"boundary {boundary}")
    found = sweep(folder, task)
    if boundary == found["choice"]:
        return f"{name} · recommended"
    if boundary == found["best"]:
        return f"{name} · best score"
    return f"{name} · keeps the gain" if boundary == found["smallest_noninferior"] else name


def found_count(page: Browser) -> int:
    return int(page.texts(".found")[0].split()[0].replace(",", ""))


def test_nothing_is_fetched_and_nothing_is_logged(folder: Path, chromium: Browser) -> None:
    for width, scheme in ((1280, "light"), (390, "dark")):
        chromium.media(prefers_color_scheme=scheme)
        chromium.open(folder / "report.html")
        chromium.screen(width)
        chromium.documents(0)
        chromium.documents(1)
        requested = chromium.requests()
        assert (folder / "report.html").as_uri() in requested
        others = [url for url in requested if not url.startswith("data:image/svg+xml;")]
        assert others == [(folder / "report.html").as_uri()]
        assert chromium.console() == []
        # no horizontal scrolling, not even on a phone
        assert chromium.run("return document.documentElement.scrollWidth <= innerWidth")
    chromium.media(prefers_color_scheme="light")


def test_plots_follow_the_colour_scheme_and_have_text_alternatives(page: Browser) -> None:
    sources = {}
    for scheme in ("light", "dark"):
        page.media(prefers_color_scheme=scheme)
        part = "srcset" if scheme == "dark" else "src"
        page.until(
            "[...document.images].every((i) => i.naturalWidth > 0 && "
            "i.parentNode.querySelector(`[${arguments[0]}]`)[arguments[0]] === i.currentSrc)",
            part,
        )
        sources[scheme] = page.run("return [...document.images].map((i) => i.currentSrc)")
    page.media(prefers_color_scheme="light")
    # one more for phones: seven of one task, six of the other, which has no trace
    assert len(sources["light"]) == 13
    assert not set(sources["light"]) & set(sources["dark"])
    assert all(len(alt) > 40 for alt in page.run("return [...document.images].map((i) => i.alt)"))


@pytest.mark.parametrize("keyboard", [False, True])
def test_the_table_sorts_in_both_directions(keyboard: bool, page: Browser, folder: Path) -> None:
    rows = sweep(folder, "answers")["boundaries"]
    (table, *_) = page.all("table[data-sortable]")
    heading = table.find_elements("css selector", "thead th")[1]
    button = heading.find_element("tag name", "button")
    for expected, sign in (("ascending", 1), ("descending", -1)):
        button.send_keys("\ue007") if keyboard else button.click()
        assert heading.get_attribute("aria-sort") == expected
        shown = [
            float(row.get_attribute("data-sort") or "nan")
            for row in table.find_elements("css selector", "tbody td:nth-child(2)")
        ]
        assert shown == sorted((row["value"] for row in rows), key=lambda value: sign * value)
    assert len(table.find_elements("css selector", "[aria-sort]")) == 1


@pytest.mark.parametrize("kind", ["changed", "worse", "better"])
@pytest.mark.parametrize("task", ["answers", "summaries"])
def test_filters_show_the_right_documents(
    task: str, kind: str, page: Browser, folder: Path
) -> None:
    binary = task == "answers"
    if not binary:
        page.run("document.querySelector('section').remove()")  # the other task
        page.documents(0)
    found = answers(folder, task, "exact_match" if binary else "rouge1")
    labels = {
        "changed": "answers that differ",
        "worse": "right → wrong" if binary else "got worse",
        "better": "wrong → right" if binary else "got better",
    }
    passes = {
        "changed": lambda given, whole: given[0] != whole[0],
        "worse": lambda given, whole: given[1] < whole[1],
        "better": lambda given, whole: given[1] > whole[1],
    }
    page.choose("Show", labels[kind])
    for boundary in (2, -1):
        page.choose("Compare whole adapter with", label(folder, task, boundary))
        expected = [
            number for number, given in found.items() if passes[kind](given[boundary], given[FULL])
        ]
        assert found_count(page) == len(expected)
        assert page.texts(".document h4") == [f"Document {n}" for n in expected[:25]]
        assert len(expected) > 0 or kind == "better"


def test_search_covers_prompt_gold_and_every_answer(page: Browser, folder: Path) -> None:
    texts: dict[int, list[str]] = {}
    for boundary in range(-1, LAYERS):
        (file,) = (folder / f"boundary={boundary}").glob("samples_answers_*")
        for line in file.read_text().splitlines():
            sample = json.loads(line)
            question = sample["arguments"]["gen_args_0"]["arg_0"]
            texts.setdefault(sample["doc_id"], []).extend(
                [question, sample["target"], sample["resps"][0][0]]
            )
    random.seed(0)
    page.choose("Show", "all documents")
    pairs = [" ".join(random.sample(VOCABULARY, 2)).upper() for _ in range(6)]
    for query in [*pairs, "summary:", "a.*b (", ""]:
        page.search(query)
        expected = [
            n for n, found in texts.items() if any(query.lower() in text.lower() for text in found)
        ]
        assert found_count(page) == len(expected)
    assert found_count(page) == DOCUMENTS


def test_pages_have_at_most_25_documents(page: Browser) -> None:
    page.choose("Show", "all documents")
    seen: list[str] = []
    for left in (25, 25, 10):
        shown = page.texts(".document h4")
        assert len(shown) == left
        seen += shown
        (_, following) = page.all(".pager button")
        if left == 25:
            page.run("arguments[0].click()", following)
    assert seen == [f"Document {i}" for i in range(DOCUMENTS)]
    assert not page.all(".pager button")[1].is_enabled()


def test_columns_can_be_chosen(page: Browser, folder: Path) -> None:
    found = answers(folder, "answers", "exact_match")
    page.choose("Show", "all documents")
    page.choose("Column 1", label(folder, "answers", 0))
    page.choose("Column 2", label(folder, "answers", 3))
    page.choose("Column 3", "none")
    page.choose("Column 4", label(folder, "answers", FULL))
    shown = page.run(
        "return [...document.querySelectorAll('.document')].map((d) => "
        "[...d.querySelectorAll('.answers .text')].map((t) => "
        "t.textContent))"
    )
    # what a cut did not say is not in its answer
    assert shown == [[found[i][boundary][0] for boundary in (0, 3, FULL)] for i in range(25)]


def longest_common(a: list[str], b: list[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        above, row = row, [0]
        for j, y in enumerate(b, 1):
            row.append(above[j - 1] + 1 if x == y else max(above[j], row[-1]))
    return row[-1]


def test_differences_are_complete_and_minimal(page: Browser, folder: Path) -> None:
    found = answers(folder, "answers", "exact_match")
    page.choose("Show", "all documents")
    for i, name in enumerate(("base model", label(folder, "answers", FULL), "none", "none")):
        page.choose(f"Column {i + 1}", name)
    page.choose("Compare whole adapter with", "base model")
    # differences are computed near the viewport: for all documents if the screen is tall enough
    assert not page.run("return document.querySelector('#task-0 .document:last-child ins')")
    page.screen(1280, 30_000)
    page.until("document.querySelector('#task-0 .document:last-child ins')")
    runs = page.run(
        "return [...document.querySelectorAll('#task-0 .document')].map((d) => "
        "[...d.querySelectorAll('.answers .text')].map((t) => "
        "[...t.childNodes].map((n) => [n.nodeName, n.textContent])))"
    )
    kinds = [{kind for each in runs for kind, _ in each[side]} for side in (0, 1)]
    assert kinds == [{"#text", "INS"}, {"#text", "DEL"}]  # each side in its own way
    for number, each in enumerate(runs):
        texts = [found[number][boundary][0] for boundary in (-1, FULL)]
        given, whole = (text.replace(".", " .").split() for text in texts)
        # each answer has its own words, and those that the other has too are not marked
        assert ["".join(text for _, text in side) for side in each] == texts
        for side in each:
            same = " ".join(text for kind, text in side if kind == "#text")
            assert len(same.replace(".", " .").split()) == longest_common(whole, given)


def test_the_first_change_counts_down_from_the_whole_adapter(page: Browser, folder: Path) -> None:
    found = answers(folder, "answers", "exact_match")
    page.choose("Show", "all documents")
    shown = page.texts(".document header p")
    assert len(shown) == 25
    for number, text in enumerate(shown):
        given = {boundary: answer for boundary, (answer, _) in found[number].items()}
        others = [boundary for boundary in given if given[boundary] != given[FULL]]
        if not others:
            assert text == "the same answer at every boundary"
            continue
        where = str(max(others)).replace("-", "−")
        distinct = len(set(given.values()))
        assert text == f"answer first changes at boundary {where} · {distinct} distinct answers"


def test_the_test_split_has_its_own_documents(page: Browser, folder: Path) -> None:
    page.choose("Split", "test")
    page.choose("Show", "all documents")
    assert found_count(page) == 20
    (strip, *_) = page.all(".strip")
    boundaries = {-1, sweep(folder, "answers")["best"], FULL}
    assert len(strip.find_elements("css selector", ".cell")) == len(boundaries)


def test_only_the_first_documents_are_printed(folder: Path, chromium: Browser) -> None:
    chromium.open(folder / "report.html")
    assert chromium.pdf().startswith(b"%PDF")
    # printing draws the documents of all tasks without scrolling to them
    tasks = chromium.run(
        "return [...document.querySelectorAll('.documents')].map((d) => "
        "d.querySelectorAll('.document').length)"
    )
    assert len(tasks) == 2 and all(5 <= number <= 25 for number in tasks)
    chromium.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    visible = chromium.run(
        "return [...document.querySelectorAll('.document')].filter((d) => d.offsetHeight).length"
    )
    assert visible == 5 + 5
    assert chromium.run("return [...document.querySelectorAll('ins')].some((i) => i.offsetHeight)")
    (note, _) = chromium.texts(".print-note")
    assert re.fullmatch(r"Only the first 5 of \d+ documents are printed\.", note)
    chromium.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
