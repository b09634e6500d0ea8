"""What the page shows first, and that it fits a screen and a phone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from made_sweeps import (
    SIGNATURE,
    made_task,
    made_test,
    made_trace,
    response_sample,
    rewrite,
    write_samples,
    write_sweep,
)

from lm_eval_lora_boundary.report.write import write_report

LAYERS = 6
FULL = LAYERS - 1
DEFAULT = ["layers", "exact_match", "vs. whole", "verdict", "size"]
SETTINGS = {
    "pretrained": "some/model",
    "peft": "some/adapter",
    "tasks": ["words"],
    "limit": 30,
    "apply_chat_template": True,
}


def sized(row: dict[str, Any]) -> None:
    layers = row["boundary"] + 1
    row |= {"parameters": 1000 * layers, "bytes": 4000 * layers, "layers_kept": layers}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sweep that recommends boundary 3, which answers as the whole adapter but for one."""
    folder = tmp_path_factory.mktemp("layout")
    task = made_task(folder, "words", documents=30, layers=LAYERS)
    task["best"] = 3
    made_test(folder, "words", task, documents=20)
    for row in [*task["boundaries"], *task["test"]["boundaries"]]:
        sized(row)
    task |= {"choice": 3, "best": 3, "choice_basis": "keeps the gain", "noninferior": [3]}
    task["answers"]["keeps_gain"] |= {"shown": True, "sentence": "Boundary 3 keeps 99 % of it."}
    write_sweep(folder, {"words": task}, settings=SETTINGS, layers=LAYERS)
    trace = {"signature": SIGNATURE, "settings": {**SETTINGS, "limit": 24}}
    (folder / "trace.json").write_text(json.dumps(trace | {"tasks": {"words": made_trace(LAYERS)}}))
    write_report(folder)
    return folder


def visible(page: Browser, selector: str) -> list[str]:
    found: list[str] = page.run(
        "return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility())"
        ".map((e) => e.textContent.trim())",
        selector,
    )
    return found


@pytest.mark.parametrize("width", [1280, 390, 360])
def test_nothing_is_wider_than_the_screen(width: int, folder: Path, chromium: Browser) -> None:
    chromium.open(folder / "report.html")
    chromium.screen(width)
    chromium.documents(0)
    assert visible(chromium, "[aria-label='All boundaries'] thead th") == DEFAULT
    too_wide = """
    return [document.documentElement, ...document.querySelectorAll(".scroll, .command, .front")]
      .filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.className || e.nodeName)
    """
    assert chromium.run(too_wide) == []
    (plot,) = visible(chromium, ".front picture") or [""]
    assert plot == ""  # one picture, of the size that fits
    part = ".wide" if width > 640 else ".narrow"
    assert chromium.run("return document.querySelector(arguments[0]).checkVisibility()", part)


def test_all_columns_are_one_click_away(folder: Path, chromium: Browser) -> None:
    chromium.open(folder / "report.html")
    (button, *_) = chromium.all(".columns-button")
    button.click()
    shown = visible(chromium, "[aria-label='All boundaries'] thead th")
    assert set(DEFAULT) < set(shown)
    assert {"p", "gain kept", "parameters", "f1", "length_ratio"} <= set(shown)
    assert button.get_attribute("aria-expanded") == "true"
    button.click()
    assert visible(chromium, "[aria-label='All boundaries'] thead th") == DEFAULT


def test_the_verdict_comes_first_and_without_statistics(folder: Path, chromium: Browser) -> None:
    chromium.open(folder / "report.html")
    (headline,) = chromium.texts(".headline")
    assert headline.replace("\u00a0", " ") == (
        "Layers 0–3 keep what the adapter gained, with 33 % fewer adapter parameters."
    )
    assert chromium.texts(".evidence")[0].replace("\u00a0", " ") == "Boundary 3 keeps 99 % of it."
    command = chromium.texts(".front .command")[0].strip()
    assert command == f"lora-boundary export --from {folder} adapter-3"
    assert "4 of 6 layers · 4,000 of 6,000 parameters (67 %) · 16.0 of 24.0 kB" in (
        chromium.texts(".beside")[0].replace("\u00a0", " ")
    )
    order = chromium.run(
        "return [...document.querySelectorAll('.headline, .front, .main, .questions, "
        '[aria-label="All boundaries"], .more-plots, .documents, footer\')].map((e) => '
        "e.className || e.nodeName)"
    )
    expected = ["headline", "front", "main", "questions", "scroll", "more-plots"]
    assert [*order[:6], *order[-1:]] == [*expected, "FOOTER"]
    assert chromium.texts("tr.chosen th") == ["0–3 recommended"] * 2


def test_documents_that_differ_come_first(folder: Path, chromium: Browser) -> None:
    chromium.open(folder / "report.html")
    chromium.documents(0)
    (show,) = (each for each in chromium.all(".panel label") if each.text.startswith("Show"))
    assert show.find_element("css selector", "option:checked").text == "answers that differ"
    differing = []
    lines = [(folder / f"boundary={boundary}").glob("samples_words_*") for boundary in (3, FULL)]
    for number, pair in enumerate(
        zip(*(next(files).read_text().splitlines() for files in lines), strict=True)
    ):
        cut, whole = (json.loads(line)["resps"][0][0] for line in pair)
        if cut != whole:
            differing.append(f"Document {number}")
    assert 0 < len(differing) < 30
    assert chromium.texts(".document h4") == differing[:25]
    assert chromium.texts(".document:first-of-type .tick") == ["−1", *map(str, range(LAYERS))]


def test_how_it_was_run_is_on_the_page(folder: Path, chromium: Browser) -> None:
    chromium.open(folder / "report.html")
    names, values = chromium.texts("footer .run dt"), chromium.texts("footer .run dd")
    facts = dict(zip(names, values, strict=True))
    assert facts["base model"] == "some/model (SHA-256 0123456789ab…)"
    assert facts["adapter"] == "some/adapter (SHA-256 ba9876543210…)"
    assert (facts["precision"], facts["chat template"]) == ("float32", "yes")
    assert facts["documents"] == "the first 30 of each split"
    (command,) = chromium.texts("footer .command")
    assert command.strip() == (
        "lora-boundary sweep --pretrained some/model --peft some/adapter --tasks words --limit 30 "
        f"--apply-chat-template --output {folder}"
    )
    assert "limit 24 (sweep: 30)" in chromium.texts("footer")[0]
    assert "holds all prompts and answers" in chromium.texts("footer")[0]


def test_equal_answers_are_said_to_be_equal(tmp_path: Path, chromium: Browser) -> None:
    task = made_task(tmp_path, "words", documents=5, layers=2)
    for boundary in (-1, 0, 1):
        samples = [
            response_sample(n, "p", "g", f"answer {n}", exact_match=float(row["value"] > n / 5))
            for row in task["boundaries"]
            if row["boundary"] == boundary
            for n in range(5)
        ]
        write_samples(tmp_path, "words", boundary, samples, 2)
    write_sweep(tmp_path, {"words": task | {"best": 0}})
    chromium.open(write_report(tmp_path))
    chromium.documents(0)
    (found,) = chromium.texts(".found")
    assert found.startswith("5 documents. All answers of boundary 0 are the same as those of ")
    assert len(chromium.all(".document")) == 5


def test_a_sweep_that_measured_nothing_shows_what_is_compared(
    tmp_path: Path, chromium: Browser
) -> None:
    task = made_task(tmp_path, "words", documents=5, layers=2)
    for boundary in (-1, 0, 1):
        samples = [response_sample(n, "p", "Vorzel", " Vorzel", exact_match=0.0) for n in range(5)]
        write_samples(tmp_path, "words", boundary, samples, 2)
    why = "no difference between cuts was measured on 5 documents; all cuts score 0"
    write_sweep(tmp_path, {"words": task | {"not_chosen": why, "best": 1, "choice": 1}})
    chromium.open(write_report(tmp_path))
    assert chromium.texts(".headline") == [f"No verdict: {why}."]
    assert chromium.texts(".examples tbody td") == [
        text for n in range(3) for text in (str(n), "Vorzel", "␣Vorzel")
    ]
    assert chromium.all(".command") == [] or "export" not in chromium.texts(".command")[0]


def test_without_texts_there_are_no_documents(folder: Path, tmp_path: Path) -> None:
    task = made_task(tmp_path, "words", documents=5, layers=2)
    write_sweep(tmp_path, {"words": task}, settings=SETTINGS)
    assert "Dialogue: " in write_report(tmp_path).read_text()
    rewrite(tmp_path / "sweep.json", lambda c: c["settings"].update(no_texts=True))
    page = write_report(tmp_path).read_text()
    assert "Dialogue: " not in page
    assert "holds no prompts and answers" in page
