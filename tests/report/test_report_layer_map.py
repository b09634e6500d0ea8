"""The layer map: its pictures and tables, and the overlap of tasks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from made_families import add_families
from made_sweeps import made_task, write_sweep
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from lm_eval_lora_boundary.report import style
from lm_eval_lora_boundary.report.data import LayerEffect, TaskFound
from lm_eval_lora_boundary.report.layer_map_plots import draw_layer_map, draw_maps
from lm_eval_lora_boundary.report.layer_overlap import importance, overlaps
from lm_eval_lora_boundary.report.layer_tables import layer_map_table, overlap_table
from lm_eval_lora_boundary.report.plots import draw, draw_together
from lm_eval_lora_boundary.report.read import read_sweep
from lm_eval_lora_boundary.report.style import Plot

LAYERS = 8
small = st.lists(st.integers(-3, 3), min_size=2, max_size=12)


def effects(values: Sequence[float | None], half: float | None = 1.0) -> list[LayerEffect]:
    return [
        LayerEffect(
            i,
            value,
            *((value - half, value + half) if value is not None and half else (None, None)),
            0.5,
        )
        for i, value in enumerate(values)
    ]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> tuple[TaskFound, ...]:
    folder = tmp_path_factory.mktemp("map")
    entries = {
        name: add_families(made_task(folder, name, documents=4, layers=LAYERS), LAYERS, seed=seed)
        for seed, name in enumerate(("answers", "summaries", "translations"))
    }
    return read_sweep(write_sweep(folder, entries)).tasks


# ----------------------------------------------------------------------------- overlap


@given(small, st.randoms(use_true_random=False))
def test_rank_correlation_agrees_with_scipy(values: list[int], source: object) -> None:
    others = values[:]
    source.shuffle(others)  # type: ignore[attr-defined]
    (found,) = overlaps({"a": effects(values), "b": effects(others)})
    if len(set(values)) == 1:
        assert found.rho is None
    else:
        expected = scipy.stats.spearmanr(values, others).statistic
        assert found.rho == pytest.approx(expected)


@given(small)
def test_a_quarter_of_the_layers_is_important(values: list[int]) -> None:
    found = importance(effects(values))
    number = max(1, len(values) // 4)
    assert sum(found.values()) == pytest.approx(number)
    assert all(0 <= share <= 1 for share in found.values())
    # no layer is more important than one with a larger effect
    by_effect = sorted(found, key=lambda layer: -values[layer])
    shares = [found[layer] for layer in by_effect]
    assert shares == sorted(shares, reverse=True)
    # a tie is shared equally
    assert all(found[a] == found[b] for a in found for b in found if values[a] == values[b])


@given(small, st.integers(0, 100))
def test_ties_count_as_if_they_were_broken_at_random(values: list[int], seed: int) -> None:
    source = np.random.default_rng(seed)
    others = source.permutation(values)
    number = max(1, len(values) // 4)
    shared = []
    for _ in range(300):
        broken = source.random((2, len(values))) * 0.1
        tops = [
            set(np.argsort(-(row + each))[:number])
            for row, each in zip((values, others), broken, strict=True)
        ]
        shared.append(len(tops[0] & tops[1]) / number)
    (found,) = overlaps({"a": effects(values), "b": effects(others.tolist())})
    assert found.shared == pytest.approx(np.mean(shared), abs=5 * 0.5 / np.sqrt(300))
    assert found.chance == number / len(values)


def test_maps_are_compared_on_the_layers_that_both_have() -> None:
    a = effects([5, 4, 3, 2, 1, 0, 0, None])
    b = effects([5, 4, 3, 2, 1, 0, 0, 9])
    (found,) = overlaps({"a": a, "b": b})
    assert (found.tasks, found.important, found.shared, found.rho) == (("a", "b"), 1, 1.0, 1.0)
    assert found.chance == pytest.approx(1 / 7)
    assert overlaps({"a": a, "b": b[:1]}) == [] == overlaps({"a": a})
    assert len(overlaps(dict.fromkeys("abcd", a))) == 6
    assert importance(effects([None, None])) == {}


def test_tasks_that_need_the_same_layers_overlap_and_others_do_not() -> None:
    early, late = list(range(16, 0, -1)), list(range(16))
    same, opposite, _ = overlaps({"a": effects(early), "b": effects(early), "c": effects(late)})
    assert (same.shared, same.rho) == (1.0, pytest.approx(1.0))
    assert (opposite.shared, opposite.rho) == (0.0, pytest.approx(-1.0))
    assert same.chance == opposite.chance == 0.25


# ---------------------------------------------------------------------------- pictures


def dots(axes: Axes) -> dict[float, tuple[float, str]]:
    """Return height and filling of the dot of every layer."""
    return {
        x: (y, to_hex(line.get_markerfacecolor()))
        for line in axes.get_lines()
        if line.get_marker() == "o"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }


def test_the_picture_shows_every_effect_with_its_interval(tasks: tuple[TaskFound, ...]) -> None:
    plot = draw_layer_map(tasks[0], LAYERS - 1)
    assert plot is not None
    panels = plot.figure.axes
    assert (
        len({axes.get_ylim() for axes in panels}) == len({axes.get_xlim() for axes in panels}) == 1
    )
    for axes, found in zip(panels, tasks[0].layer_maps.values(), strict=True):
        shown = dots(axes)
        assert {x: y for x, (y, _) in shown.items()} == {each.layer: each.effect for each in found}
        hollow = {x for x, (_, colour) in shown.items() if colour == style.PAPER}
        assert hollow == {each.layer for each in found if not each.significant}
        ends = {
            tuple(segment[:, 1])
            for lines in axes.collections
            for segment in lines.get_segments()  # type: ignore[attr-defined]
        }
        assert ends == {(each.ci_low, each.ci_high) for each in found}
        assert any(list(line.get_ydata()) == [0, 0] for line in axes.get_lines())
        bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in axes.patches}
        assert bars == {each.layer: pytest.approx(each.effect) for each in found}
    assert "significantly help" in plot.alt


def test_significant_effects_are_those_whose_interval_excludes_zero() -> None:
    assert LayerEffect(0, 0.1, 0.01, 0.2, 0.5).significant
    assert LayerEffect(0, -0.1, -0.2, -0.01, 0.5).significant
    assert not LayerEffect(0, 0.1, -0.01, 0.2, 0.001).significant
    assert not LayerEffect(0, 0.1, 0.0, 0.2, 0.001).significant
    assert LayerEffect(0, 0.1, None, None, 0.01).significant
    assert not LayerEffect(0, 0.1).significant


def test_layers_without_an_effect_stay_empty(tasks: tuple[TaskFound, ...]) -> None:
    some = tuple(effects([0.1, None, 0.2, None], None))
    plot = draw_layer_map(replace(tasks[0], layer_maps={"only": some}), LAYERS - 1)
    assert plot is not None
    (axes,) = plot.figure.axes
    assert list(dots(axes)) == [0, 2]
    assert axes.get_xlim() == (-0.8, LAYERS - 0.2)  # layers without LoRA have a place too
    assert [text.get_text() for text in plot.figure.legends[0].get_texts()] == ["not significant"]
    assert draw_layer_map(replace(tasks[0], layer_maps={}), None) is None
    nothing = {"each": tuple(effects([None]))}
    assert draw_layer_map(replace(tasks[0], layer_maps=nothing), None) is None


def test_up_is_better_also_where_lower_is(tasks: tuple[TaskFound, ...]) -> None:
    plot = draw_layer_map(replace(tasks[0], higher_is_better=False), None)
    assert plot is not None
    assert {axes.get_ylabel() for axes in plot.figure.axes} == {"decrease in exact_match"}


def test_tasks_share_the_layer_axis_and_mark_what_is_important(
    tasks: tuple[TaskFound, ...],
) -> None:
    plot = draw_maps("each", tasks, LAYERS - 1)
    assert plot is not None
    *panels, counts = plot.figure.axes
    assert len(panels) == len(tasks)
    assert len({axes.get_xlim() for axes in plot.figure.axes}) == 1
    expected: dict[int, float] = {}
    for axes, task in zip(panels, tasks, strict=True):
        shares = importance(task.layer_maps["each"])
        marked = axes.collections[-1].get_offsets()[:, 0].tolist()  # type: ignore[index]
        assert marked == [layer for layer, share in shares.items() if share]
        expected = {layer: expected.get(layer, 0) + share for layer, share in shares.items()}
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in counts.patches}
    assert heights == pytest.approx(expected)
    assert draw_maps("each", tasks[:1], None) is None
    assert draw_maps("only", [replace(task, layer_maps={}) for task in tasks], None) is None
    assert [each.name for each in draw_together(tasks, None)] == [
        "layer_map_each",
        "layer_map_only",
    ]


def test_the_pictures_can_be_read_on_a_phone_and_in_the_dark(tasks: tuple[TaskFound, ...]) -> None:
    plots: list[Plot] = [*draw(tasks[0], LAYERS - 1), *draw_together(tasks, LAYERS - 1)]
    plots = [plot for plot in plots if plot.name != "metric"]  # phones get another one
    assert {"families", "layer_map", "layer_map_each"} <= {plot.name for plot in plots}
    for plot in plots:
        with style.house_style():
            light = style.svg(plot.figure)
        colours = [set(re.findall(r"#[0-9a-f]{6}\b", text)) for text in (light, style.dark(light))]
        assert colours[0] and not colours[0] & colours[1]
        width = float(re.search(r'viewBox="0 0 ([\d.]+)', light)[1])  # type: ignore[index]
        sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", light)]
        assert min(sizes) * 328 / width >= 8
        assert len(plot.alt) > 40


# ------------------------------------------------------------------------------ tables


def test_the_table_has_the_effects_of_both_maps(tasks: tuple[TaskFound, ...]) -> None:
    table = layer_map_table(tasks[0])
    assert table is not None
    assert [heading.text for heading in table.headings] == ["layer", "left out", "p", "alone", "p"]
    each, only = tasks[0].layer_maps["each"], tasks[0].layer_maps["only"]
    for layer, line in enumerate(table.lines):
        sorts = [cell.sort for cell in line.cells]
        left_out, alone = each[layer], only[layer]
        expected = [layer, left_out.effect, left_out.p_value, alone.effect, alone.p_value]
        assert sorts == expected
    part = {"each": each[:2], "only": only[1:]}
    table = layer_map_table(replace(tasks[0], layer_maps=part))
    assert table is not None and len(table.lines) == LAYERS
    assert table.lines[0].cells[3].text == table.lines[-1].cells[1].text == "–"
    assert layer_map_table(replace(tasks[0], layer_maps={})) is None


def test_the_overlap_of_every_two_tasks_is_in_a_table(tasks: tuple[TaskFound, ...]) -> None:
    table = overlap_table(tasks)
    assert table is not None
    assert len(table.lines) == 2 * 3
    assert table.lines[0].cells[0].text == "answers · summaries"
    assert overlap_table(tasks[:1]) is None
