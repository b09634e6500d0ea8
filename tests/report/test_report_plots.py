"""The plots: files, colour schemes, and sweeps with missing numbers."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from made_sweeps import SIGNATURE, made_task, made_trace, write_sweep
from matplotlib.figure import Figure
from PIL import Image

from lm_eval_lora_boundary.errors import OutputError
from lm_eval_lora_boundary.report import style
from lm_eval_lora_boundary.report.data import Row, TaskFound
from lm_eval_lora_boundary.report.plots import draw
from lm_eval_lora_boundary.report.read import read_sweep
from lm_eval_lora_boundary.report.style import Plot
from lm_eval_lora_boundary.report.write import write_report

LAYERS = 6
NAMES = [
    "metric",
    "metric_narrow",
    "difference",
    "gain_kept",
    "metrics",
    "length_ratio",
    "trace_and_sweep",
]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> TaskFound:
    folder = tmp_path_factory.mktemp("plots")
    write_sweep(folder, {"summaries": made_task(folder, documents=8, layers=LAYERS)})
    (folder / "trace.json").write_text(
        json.dumps({"signature": SIGNATURE, "tasks": {"summaries": made_trace(LAYERS)}})
    )
    return read_sweep(folder).tasks[0]


def drawn(task: TaskFound, full: int | None = LAYERS - 1) -> dict[str, Plot]:
    return {plot.name: plot for plot in draw(task, full)}


def lines(plot: Plot) -> list[tuple[list[float], list[float]]]:
    return [
        (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for axes in plot.figure.axes
        for line in axes.get_lines()
    ]


def test_plots_show_the_numbers_of_the_sweep(task: TaskFound) -> None:
    plots = drawn(task)
    assert list(plots) == NAMES
    xs = [float(row.boundary) for row in task.rows]
    assert (xs, [row.value for row in task.rows]) in lines(plots["metric"])
    assert (xs, [row.delta_full for row in task.rows]) in lines(plots["difference"])
    assert (xs, [row.metrics["f1,none"] for row in task.rows]) in lines(plots["metrics"])
    assert (xs, [row.metrics["length_ratio,none"] for row in task.rows]) in lines(
        plots["length_ratio"]
    )
    kept = [(row.boundary, row.gain_kept) for row in task.rows if row.gain_kept is not None]
    curves = [dict(zip(xs, ys, strict=True)) for xs, ys in lines(plots["gain_kept"])]
    assert any(
        curve == pytest.approx({float(b or 0): 100 * share for b, share in kept})
        for curve in curves
        if len(curve) == len(kept)
    )
    assert task.trace is not None
    means = [layer.mean for layer in task.trace.layers]
    assert means != [layer.median for layer in task.trace.layers]
    assert ([float(each.layer) for each in task.trace.layers], means) in lines(
        plots["trace_and_sweep"]
    )
    upper, lower = plots["trace_and_sweep"].figure.axes
    assert upper.get_xlim() == lower.get_xlim()
    for plot in plots.values():
        assert len(plot.alt) > 40


def test_the_interval_of_the_candidate_is_shaded_only_if_there_is_one(task: TaskFound) -> None:
    assert task.trace is not None

    def shaded(**changes: Any) -> list[tuple[float, float]]:
        plot = drawn(replace(task, trace=replace(task.trace, **changes)))["trace_and_sweep"]
        spans = [patch for axes in plot.figure.axes for patch in axes.patches]
        return [(span.get_x(), span.get_width()) for span in spans]  # type: ignore[attr-defined]

    assert shaded(candidate=3, candidate_low=2, candidate_high=4) == [(1.5, 3.0)] * 2
    assert shaded(candidate=3, candidate_low=3, candidate_high=3) == [(2.5, 1.0)] * 2
    assert shaded(candidate=None, candidate_low=2, candidate_high=4) == []


def test_metrics_where_lower_is_better_are_marked(task: TaskFound) -> None:
    def names(**directions: bool) -> str:
        plot = drawn(replace(task, directions=directions))["metrics"]
        return " ".join(str(text.get_text()) for text in plot.figure.legends[0].get_texts())

    assert "lower is better" not in names(f1=True)
    assert "f1 (lower is better)" in names(f1=False)
    assert names(f1=False).count("lower") == 1


def test_files_are_the_same_at_every_run_and_can_be_read(tmp_path: Path) -> None:
    write_sweep(tmp_path, {"words": made_task(tmp_path, "words", documents=3, layers=3)})
    contents = []
    for _ in range(2):
        write_report(tmp_path)
        files = sorted((tmp_path / "plots").rglob("*.*"))
        contents.append({file: file.read_bytes() for file in files})
    assert contents[0] == contents[1]
    names = {file.name for file in contents[0]}
    assert names == {f"{name}.{kind}" for name in NAMES[:-1] for kind in ("png", "svg")}
    for file in contents[0]:
        assert file.parent == tmp_path / "plots/words"
        if file.suffix == ".png":
            with Image.open(file) as image:
                assert image.width >= 800
        else:
            root = ET.fromstring(file.read_text())
            links = [
                v for each in root.iter() for k, v in each.attrib.items() if k.endswith("href")
            ]
            assert all(link.startswith("#") for link in links)


def test_the_colour_schemes_share_no_colour(task: TaskFound) -> None:
    for plot in drawn(task).values():
        with style.house_style():
            light = style.svg(plot.figure)
        dark = style.dark(light)
        colours = [set(re.findall(r"#[0-9a-f]{6}\b", text)) for text in (light, dark)]
        assert colours[0]
        # a colour without a dark counterpart would be in both
        assert not colours[0] & colours[1]
        assert "DejaVu" not in light


def test_text_is_large_enough_on_a_phone(task: TaskFound) -> None:
    for name, plot in drawn(task).items():
        if name == "metric":  # phones get the narrow one
            continue
        with style.house_style():
            text = style.svg(plot.figure)
        width = float(re.search(r'viewBox="0 0 ([\d.]+)', text)[1])  # type: ignore[index]
        sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", text)]
        assert min(sizes) * 328 / width >= 9  # 360 pixels without margins


def test_plots_without_numbers_are_left_out(task: TaskFound) -> None:
    bare = [
        Row(row.boundary, row.value, metrics={task.metric: row.value or 0.0}) for row in task.rows
    ]
    assert list(drawn(replace(task, rows=tuple(bare), trace=None))) == NAMES[:2]
    empty = tuple(Row(row.boundary) for row in task.rows)
    assert list(drawn(replace(task, rows=empty, trace=None), None)) == NAMES[:2]
    last = replace(task, rows=task.rows[-1:], best=LAYERS - 1, trace=None)
    assert "metric" in drawn(last)
    assert "gain_kept" not in drawn(last)


def test_missing_values_are_gaps_not_zeros(task: TaskFound) -> None:
    first, second, *others = task.rows
    rows = (first, Row(second.boundary), *others)
    plots = drawn(replace(task, rows=rows, best=LAYERS - 1))
    for name, missing in (("metric", 1), ("metrics", 1)):
        curves = [ys for xs, ys in lines(plots[name]) if len(xs) == len(rows)]
        assert curves
        for ys in curves:
            assert [i for i, y in enumerate(ys) if math.isnan(y)] == [missing]
    for name, absent in (("difference", 1), ("gain_kept", 2)):  # also the whole adapter's own
        drawn_at = [xs for xs, _ in lines(plots[name])]
        assert max(map(len, drawn_at)) == len(rows) - absent


def test_metrics_of_different_scales_are_relative_to_the_whole_adapter(task: TaskFound) -> None:
    rows = tuple(
        replace(row, metrics={task.metric: 0.5 + row.boundary / 100, "perplexity,none": 300.0})
        for row in task.rows
    )
    plot = drawn(replace(task, rows=rows, trace=None))["metrics"]
    assert plot.figure.axes[0].get_ylabel() == "% of the whole adapter"
    assert [100.0] * len(rows) in [ys for _, ys in lines(plot)]


def test_a_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plots").write_text("a file")
    with pytest.raises(OutputError, match="plots cannot be written: File exists"):
        style.save(Figure(), tmp_path / "plots", "metric")


def test_names_are_text_not_formulas(task: TaskFound) -> None:
    odd: dict[str, Any] = {r"$\frac{,none": 0.3, "<b>&_x_,none": 0.4}
    rows = tuple(replace(row, metrics=odd) for row in task.rows)
    plots = drawn(replace(task, rows=rows, metric=r"$\frac{,none"))
    with style.house_style():
        for plot in plots.values():
            ET.fromstring(style.svg(plot.figure))
            assert style.png(plot.figure)
        assert r"$\frac{" in style.svg(plots["metric"].figure)


def test_drawing_does_not_change_the_settings_of_matplotlib(task: TaskFound) -> None:
    before = dict(matplotlib.rcParams)
    drawn(task)
    assert dict(matplotlib.rcParams) == before
    code = "import sys, lm_eval_lora_boundary.report; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)
