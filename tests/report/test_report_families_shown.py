"""Families of cuts in plots, in the terminal and on the page."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from made_families import add_families, make_best
from made_sweeps import made_task, made_test, rewrite, write_sweep

from lm_eval_lora_boundary.report.data import TaskFound
from lm_eval_lora_boundary.report.family_plots import draw_families
from lm_eval_lora_boundary.report.plots import draw
from lm_eval_lora_boundary.report.read import read_sweep
from lm_eval_lora_boundary.report.table import family_table
from lm_eval_lora_boundary.report.write import write_report

LAYERS = 6
FULL = LAYERS - 1
BETTER = "better than the whole adapter"
ORDERS = ("lower", "random", "map")


def answer_with(folder: Path, task: str, cut: str) -> None:
    """Let a cut give the answers of boundary 2."""
    target = folder / f"cut={cut}"
    target.mkdir()
    for file in (folder / "boundary=2").glob(f"samples_{task}_*"):
        shutil.copy(file, target)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a report on two tasks; the best cut of the first is no boundary."""
    folder = tmp_path_factory.mktemp("families")
    entries = {
        name: add_families(made_task(folder, name, documents=5, layers=LAYERS), LAYERS, seed=seed)
        for seed, name in enumerate(("answers", "summaries"))
    }
    entries["answers"] |= {"best": "1-5", "choice": "1-5", "choice_basis": BETTER}
    answer_with(folder, "answers", "1-5")
    write_sweep(folder, entries)
    write_report(folder)
    return folder


@pytest.fixture
def task(folder: Path) -> TaskFound:
    return read_sweep(folder).tasks[0]


def test_orders_are_drawn_against_the_layers_that_they_keep(task: TaskFound) -> None:
    plot = draw_families(task, FULL)
    assert plot is not None
    orders, scale = plot.figure.axes
    curves = {str(line.get_label()): line for axes in (orders, scale) for line in axes.get_lines()}
    for name in ORDERS:
        (family,) = (each for each in task.families if each.name == name)
        assert list(curves[name].get_xdata()) == list(range(LAYERS + 1))
        assert list(curves[name].get_ydata()) == [row.value for row in reversed(family.cuts)]
    upper = curves["upper (boundaries)"]
    assert list(upper.get_xdata()) == [row.kept_layers for row in task.rows]
    assert list(upper.get_ydata()) == [row.value for row in task.rows]
    assert orders.collections  # its interval
    assert curves["file:cuts.txt"].get_linestyle() == "None"
    strengths = [0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2]
    assert list(curves["scale"].get_xdata()) == pytest.approx(strengths)
    assert curves["scale"].axes is scale and orders.get_ylim() == scale.get_ylim()
    assert list(curves["best: keep=1-5"].get_xdata()) == [5]
    # told apart without colour too
    assert len({curves[name].get_color() for name in ORDERS}) == 3
    assert len({curves[name].get_marker() for name in ORDERS}) == 3
    assert "lower" in plot.alt and "each" in plot.alt


def test_only_families_with_an_axis_are_drawn(task: TaskFound) -> None:
    def axes(*names: str, rows: Any = task.rows) -> int:
        chosen = tuple(family for family in task.families if family.name in names)
        plot = draw_families(replace(task, families=chosen, rows=rows), FULL)
        return 0 if plot is None else len(plot.figure.axes)

    assert axes() == axes("each", "only") == 0
    assert axes("lower") == 1
    assert axes("scale") == 2
    ends = (task.rows[0], task.rows[-1])
    assert axes("scale", rows=ends) == axes("lower", rows=ends) == 1


def test_a_best_cut_without_boundary_has_no_place_on_the_boundary_axis(task: TaskFound) -> None:
    plots = {plot.name: plot for plot in draw(task, FULL)}
    texts = [text.get_text() for text in plots["metric"].figure.legends[0].get_texts()]
    best = task.row("1-5")
    assert best is not None
    assert "recommended: keep=1-5" in texts
    lines = [line for axes in plots["metric"].figure.axes for line in axes.get_lines()]
    (drawn,) = (line for line in lines if line.get_label() == "recommended: keep=1-5")
    assert set(drawn.get_ydata()) == {best.value}
    assert "keep=1-5" in plots["metric"].alt


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("lower", "layers kept", "cut"),
        ("scale", "strength", "gain kept"),
        ("each", "layer left out", "gain kept"),
        ("only", "only layer", "gain kept"),
        ("file:cuts.txt", "layers kept", "cut"),
    ],
)
def test_every_family_has_a_table(task: TaskFound, name: str, first: str, last: str) -> None:
    (family,) = (each for each in task.families if each.name == name)
    table = family_table(task, family, {FULL: "whole"}, FULL)
    headings = [heading.text for heading in table.headings]
    assert (headings[0], headings[-1]) == (first, last)
    assert [line.cells[1].sort for line in table.lines] == [row.value for row in family.cuts]
    assert [line.chosen for line in table.lines] == [row.name == "1-5" for row in family.cuts]
    assert all(line.cells[0].sort is not None for line in table.lines)


def test_the_page_starts_with_the_answer_and_what_speaks_against_it(
    folder: Path, chromium: Browser
) -> None:
    chromium.open(folder / "report.html")
    tags = chromium.run(
        "return [...document.querySelector('#task-0').children].map((e) => e.className)"
    )
    assert tags[:3] == ["name", "headline", "evidence"]
    assert tags.index("front") < tags.index("questions") < tags.index("against")
    (headline,) = chromium.texts("#task-0 .headline")
    assert headline == "Layers 1–5 score better than the whole adapter, with 5 of 6 layers."
    shown = chromium.texts("#task-0 .against > li")
    assert shown[0].startswith("The best cut of the family random") and shown[0].endswith(".")
    assert len(shown) == 4 and shown[3].split()[:2] == ["4", "more"]
    assert len(chromium.texts("#task-0 .against ul li")) == 4
    assert chromium.console() == []


def test_tables_of_families_are_folded(folder: Path, chromium: Browser) -> None:
    chromium.open(folder / "report.html")
    names = chromium.texts("#task-0 details.table > summary b")
    assert names == [
        "lower",
        "random",
        "map",
        "scale",
        "each",
        "only",
        "file:cuts.txt",
        "layer map",
    ]
    visible = (
        "return [...document.querySelectorAll('#task-0 details.table table')]"
        ".map((t) => t.checkVisibility())"
    )
    assert not any(chromium.run(visible))
    (summary, *_) = chromium.all("#task-0 details.table > summary")
    summary.click()
    assert chromium.run(visible) == [True] + [False] * (len(names) - 1)
    (button, *_) = chromium.all("#task-0 details.table th button")
    button.click()
    column = "document.querySelector('#task-0 details.table tbody').rows"
    numbers = chromium.run(f"return [...{column}].map((row) => Number(row.cells[0].dataset.sort))")
    assert numbers in (sorted(numbers), sorted(numbers)[::-1])
    for width in (1280, 390):
        chromium.screen(width)
        assert chromium.run("return document.documentElement.scrollWidth <= innerWidth")


def test_tasks_are_compared_on_the_page(folder: Path, chromium: Browser) -> None:
    chromium.open(folder / "report.html")
    assert len(chromium.all("#layer-maps figure")) == 2
    assert "answers · summaries" in chromium.texts("#layer-maps tbody th")
    assert chromium.all(".contents a[href='#layer-maps']")
    for kind in ("each", "only"):
        assert (folder / f"plots/layer_map_{kind}.svg").is_file()
    assert (folder / "plots/answers/layer_map.png").is_file()


def test_the_answers_of_the_best_cut_are_shown_beside_the_boundaries(
    folder: Path, chromium: Browser
) -> None:
    chromium.open(folder / "report.html")
    chromium.documents(0)
    assert "keep=1-5 · recommended" in chromium.texts("#task-0 .answers h5 span:first-child")
    # boxes are boundaries
    (strip, *_) = chromium.all("#task-0 .strip")
    assert len(strip.find_elements("css selector", ".cell")) == LAYERS + 1
    chromium.choose("Column 1", "boundary 2")
    chromium.choose("Column 2", "keep=1-5 · recommended")
    chromium.choose("Column 3", "none")
    chromium.choose("Column 4", "none")
    texts = chromium.run(
        "return [...document.querySelectorAll('#task-0 .answers')].map((d) => "
        "[...d.querySelectorAll('.text')].map((t) => t.textContent))"
    )
    assert texts and all(a == b for a, b in texts)
    assert chromium.console() == []


def test_without_its_folder_the_best_cut_has_no_answers(folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    shutil.rmtree(copied / "cut=1-5")
    assert write_report(copied).is_file()
    rewrite(copied / "sweep.json", lambda c: make_best(c["tasks"]["answers"], "scale"))
    assert "keep=" in write_report(copied).read_text()


def test_a_sweep_of_single_layers_only(tmp_path: Path, chromium: Browser) -> None:
    """Only the two ends are boundaries, and the best cut may be one that was not swept as such."""
    task = add_families(
        made_task(tmp_path, documents=4, layers=LAYERS), LAYERS, names=("each", "only")
    )
    task["boundaries"] = [task["boundaries"][0], task["boundaries"][-1]]
    task |= {
        "best": 0,
        "choice": 0,
        "optimism": None,
        "choice_basis": BETTER,
    }
    for number in range(1, FULL):
        shutil.rmtree(tmp_path / f"boundary={number}")
    write_sweep(tmp_path, {"summaries": task})
    chromium.open(write_report(tmp_path))
    (headline,) = chromium.texts(".headline")
    assert headline == "Layer 0 scores better than the whole adapter, with 1 of 6 layers."
    assert len(chromium.all(".plot-layer_map")) == 1 and not chromium.all(".plot-families")
    chromium.documents(0)
    assert "boundary 0 · recommended" in chromium.texts(".answers h5 span:first-child")


def test_a_best_cut_without_boundary_is_confirmed_beside_the_two_ends(
    tmp_path: Path, chromium: Browser
) -> None:
    task = made_task(tmp_path, documents=6, layers=5)
    made_test(tmp_path, "summaries", task, documents=4)
    add_families(task, 5)
    best = task["families"]["lower"]["cuts"][1]
    ends = [row for row in task["test"]["boundaries"] if row["boundary"] in (-1, 4)]
    task["test"]["boundaries"] = [*ends, best]
    task |= {
        "best": best["cut"],
        "choice": best["cut"],
        "choice_basis": BETTER,
    }
    write_sweep(tmp_path, {"summaries": task})
    chromium.open(write_report(tmp_path))
    names = chromium.texts("[aria-label='On the test split'] tbody th")
    assert [name.split()[0] for name in names] == ["none", "0–4", "keep=1-4"]
    (headline,) = chromium.texts(".headline")
    assert headline.startswith("Layers 1–4 score better than the whole adapter")
    chromium.documents(0)
    chromium.choose("Split", "test")
    assert chromium.texts(".found")[0].endswith("4 documents")
    assert chromium.console() == []
