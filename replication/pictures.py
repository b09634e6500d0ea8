"""The pictures of the page, drawn from the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_eval_lora_boundary.files import write_text
from lm_eval_lora_boundary.report import style
from lm_eval_lora_boundary.report.formatting import metric_name

from .comparing import boundaries, value
from .cuts import NONE, WHOLE
from .metrics import GOLD, LENGTHS
from .plan import Data
from .study import Seed, Study

SCORES = "score.svg"  # which the README shows
_COLUMNS = 3
_WIDTH, _HEIGHT = 3.0, 2.4  # of a panel, in inches
_LAST = "last layer that keeps its LoRA (−1: base)"


def draw_all(study: Study, folder: Path) -> dict[str, str]:
    """Draw and write the pictures; return their text alternatives by file name."""
    pictures = {
        SCORES: (_scores, "score of every boundary on the validation documents", "choose"),
        "likelihood.svg": (
            _likelihood,
            "log-likelihood of the gold answer under every boundary on the validation documents",
            "choose",
        ),
        "trace.svg": (_trace, "probability of the gold answer at every layer", "trace"),
        "length.svg": (_length, "length of the answers under every boundary", "choose"),
    }
    alternatives = {}
    for name, (draw, alt, step) in pictures.items():
        found = study.having(step)
        if not found:
            continue
        with style.house_style():
            drawing = style.svg(_panels(found, draw))
        write_text(folder / name, drawing)
        names = ", ".join(data.title for data, _ in found)
        alternatives[name] = f"{alt[0].upper()}{alt[1:]}, for {names}"
    return alternatives


Draw = Callable[[Axes, Data, Sequence[Seed]], str]


def _panels(found: Sequence[tuple[Data, Sequence[Seed]]], draw: Draw) -> Figure:
    """Return a figure with a panel for each data set."""
    rows = -(-len(found) // _COLUMNS)
    columns = -(-len(found) // rows)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    axes = list(panels.flat)
    for ax, (data, seeds) in zip(axes, found, strict=False):
        style.prepare(ax)
        below = draw(ax, data, seeds)
        ax.set_xlabel(below)
    for ax in axes[len(found) :]:
        ax.set_axis_off()
    style.legend(figure, *axes[: len(found)], columns=4)
    return figure


def _scores(axes: Axes, data: Data, seeds: Sequence[Seed]) -> str:
    """Draw the first metric of every boundary, with its interval."""
    axes.set_title(f"{data.title}: {metric_name(data.metrics[0])}", fontsize=9.5)
    return _by_boundary(axes, seeds, data.metrics[0], data.task)


def _likelihood(axes: Axes, data: Data, seeds: Sequence[Seed]) -> str:
    """Draw the log-likelihood of the gold answer under every boundary, with its interval."""
    axes.set_title(f"{data.title}: log-likelihood", fontsize=9.5)
    return _by_boundary(axes, seeds, GOLD, data.gold_task)


def _by_boundary(axes: Axes, seeds: Sequence[Seed], metric: str, name: str) -> str:
    """Draw a metric of every boundary on the validation documents, with its interval."""
    tasks = [seed.task("choose", name) for seed in seeds]
    names = boundaries(tasks[0], seeds[0].layers)
    found = [value(tasks, metric, [cut] * len(seeds)) for cut in names.values()]
    numbers = np.array(list(names))
    axes.fill_between(
        numbers,
        [each.low for each in found],
        [each.high for each in found],
        color=style.ACCENT,
        alpha=0.16,
        linewidth=0,
        label="95 % interval",
    )
    axes.plot(numbers, [each.value for each in found], color=style.ACCENT, label="boundary")
    ends = {"whole adapter": (WHOLE, "-"), "base model": (NONE, ":")}
    for label, (cut, dashes) in ends.items():
        end = value(tasks, metric, [cut] * len(seeds)).value
        axes.axhline(end, color=style.MUTED, linewidth=1, linestyle=dashes, label=label)
    return _LAST


def _trace(axes: Axes, data: Data, seeds: Sequence[Seed]) -> str:
    """Draw the mean probability of the gold tokens at every layer."""
    for label, colour in (("full", style.ACCENT), ("base", style.SERIES[1])):
        curves = [
            [row["mean"] for row in seed.steps["trace"]["tasks"][data.task]["models"][label]]
            for seed in seeds
        ]
        mean = np.mean(curves, axis=0)
        name = "whole adapter" if label == "full" else "base model"
        axes.plot(range(len(mean)), mean, color=colour, label=name)
    for seed in seeds:
        candidate = seed.steps["trace"]["tasks"][data.task]["candidate"]
        if candidate is not None:
            axes.axvline(
                candidate, color=style.MUTED, linewidth=1, linestyle=":", label="candidate"
            )
    axes.set_title(data.title, fontsize=9.5)
    return "layer"


def _length(axes: Axes, data: Data, seeds: Sequence[Seed]) -> str:
    """Draw how long answers are, as a share of the gold answers."""
    tasks = [seed.task("choose") for seed in seeds]
    names = boundaries(tasks[0], seeds[0].layers)
    entry = [task["metrics"][LENGTHS]["cuts"] for task in tasks]
    mean = [np.mean([cuts[name]["value"] for cuts in entry]) for name in names.values()]
    axes.plot(list(names), mean, color=style.ACCENT, label="length of answers / gold answers")
    axes.axhline(1, color=style.MUTED, linewidth=1, linestyle=":")
    axes.set_title(data.title, fontsize=9.5)
    return _LAST
