"""Models × tasks, with intervals and paired differences to a baseline."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from .columns import columns, direction
from .comparison import Cell, Comparison, Grid, text, unique
from .labels import labels
from .measure import Column, Measured
from .runs import Run
from .samples import SamplesFiles

_NONE = "–"
_ARROWS = {True: " ↑", False: " ↓", None: ""}


def leaderboard(
    runs: Sequence[Run],
    baseline: int | None,
    metrics: Sequence[str],
    tasks: Sequence[str],
    warnings: Sequence[str] = (),
) -> Comparison:
    """Compare models.

    Args:
        runs: The models.
        baseline: The one that the others are compared with; None to compare with none.
        metrics: ``metric`` or ``metric,filter``; none for the first of each task.
        tasks: Names of tasks; none for all.
        warnings: What is known to be said about the runs.

    Raises:
        TaskError: No such task or metric, or a model cannot be paired with the baseline.
        OutputError: A samples file is damaged.
    """
    names = labels(runs)
    files = SamplesFiles()
    found = [Column(task, key, runs, names, files) for task, key in columns(runs, metrics, tasks)]
    numbers = [column.measure(baseline) for column in found]
    ways = [direction(runs, column.task, column.key) for column in found]
    lines = [*warnings, *_versions(runs, names)]
    lines += [line for column in found for line in column.warnings]
    headings = [text("model"), Cell(("boundary",)), Cell(("kept LoRA", "parameters"))]
    headings += [
        Cell((column.task, column.key.removesuffix(",none") + _ARROWS[way]))
        for column, way in zip(found, ways, strict=True)
    ]
    shown = [_cells(n, way, baseline) for n, way in zip(numbers, ways, strict=True)]
    rows = tuple(
        (*_about(run, name), *(cells[i] for cells in shown))
        for i, (run, name) in enumerate(zip(runs, names, strict=True))
    )
    return Comparison(
        title="Comparison",
        grids=(Grid("", tuple(headings), rows),),
        sentences=(),
        legend=tuple(_legend(None if baseline is None else names[baseline], numbers)),
        warnings=unique(lines),
        records=tuple(_records(runs, names, baseline, found, numbers, ways)),
    )


def _about(run: Run, name: str) -> tuple[Cell, Cell, Cell]:
    """Return the cells about the model itself."""
    layers = "" if run.layers is None else f"of layers 0 to {run.layers - 1}"
    return (
        text(name, hover=f"{run.full_name()} ({', '.join(map(str, run.files))})"),
        Cell((_NONE if run.boundary is None else str(run.boundary),), hover=layers),
        Cell((_NONE if run.kept is None else f"{run.kept:,}",)),
    )


def _cells(
    numbers: Sequence[Measured | None], way: bool | None, baseline: int | None
) -> list[Cell]:
    """Return a column: value with interval, below it the difference with its interval."""
    values = [each.value for each in numbers if each is not None and math.isfinite(each.value)]
    digits = _digits(values)
    best = None if way is None or not values else (max if way else min)(values)
    return [
        Cell((_NONE,)) if each is None else _cell(each, digits, best, way, i == baseline)
        for i, each in enumerate(numbers)
    ]


def _cell(
    each: Measured, digits: int, best: float | None, way: bool | None, baseline: bool
) -> Cell:
    """Return what a cell says about a value."""
    if not math.isfinite(each.value):
        return Cell(("n/a",))
    lines = [f"{each.value:.{digits}f}"]
    if each.interval in ("bootstrap", "Wilson"):
        lines[0] += f" [{each.low:.{digits}f}, {each.high:.{digits}f}]"
    elif each.high is not None:
        lines[0] += f" ±{each.high - each.value:.{digits}f}"
    hover = "" if each.documents is None else f"{each.documents} documents"
    tone = ""
    if baseline:
        lines.append("baseline")
    elif each.difference is not None:
        lines.append(_difference(each, digits))
    if each.p_holm is not None:
        lines[1] += _mark(each.p_holm)
        hover += f"; {each.test}: p = {each.p_value:.2g}, {each.p_holm:.2g} after Holm"
        if each.p_holm < 0.05 and way is not None and each.difference is not None:
            tone = "better" if (each.difference > 0) == way else "worse"
    return Cell(tuple(lines), hover, strong=each.value == best, tone=tone)


def _difference(each: Measured, digits: int) -> str:
    """Return a difference with its interval."""
    said = f"{each.difference:+.{digits}f}"
    if each.difference_low is None:
        return said
    return f"{said} [{each.difference_low:+.{digits}f}, {each.difference_high:+.{digits}f}]"


def _mark(p_value: float) -> str:
    """Return the sign of significance."""
    return " ‡" if p_value < 0.01 else " †" if p_value < 0.05 else ""


def _digits(values: Sequence[float]) -> int:
    """Return how many decimals the values of a column are shown with."""
    largest = max((abs(value) for value in values), default=0)
    return 3 if largest <= 10 else 2 if largest < 1000 else 0


def _versions(runs: Sequence[Run], names: Sequence[str]) -> Iterator[str]:
    """Yield a line if results are from several versions of lm-eval."""
    users: dict[str, list[str]] = {}
    for run, name in zip(runs, names, strict=True):
        for version in dict.fromkeys(result.lm_eval for result in run.tasks.values()):
            users.setdefault(version, []).append(name)
    if len(users) > 1:
        said = "; ".join(f"{version}: {', '.join(who)}" for version, who in users.items())
        yield f"results are from several versions of lm-eval, which may score differently ({said})"


def _legend(baseline: str | None, numbers: Sequence[Sequence[Measured | None]]) -> Iterator[str]:
    """Yield what the signs in the table mean, those that are in it."""
    there = [each for column in numbers for each in column if each is not None]
    yield "bold: best value of the column; ↑ more is better, ↓ less is better"
    kinds = {each.interval for each in there}
    used = _methods(kinds, "Wilson", "bootstrap")
    if used:
        yield f"[ ]: 95 % interval of the value ({used})"
    if "standard error" in kinds:
        yield "±: half of the 95 % interval from lm-eval's standard error (no samples)"
    tests = _methods({each.test for each in there}, "McNemar", "randomisation")
    if baseline is None:
        yield "give --baseline for paired differences and tests"
    elif tests:
        yield (
            f"second line: difference to {baseline} on the same documents, with its 95 % interval; "
            f"† p < 0.05, ‡ p < 0.01 ({tests}), corrected by Holm for the models of the column"
        )


def _methods(used: set[str], shares: str, others: str) -> str:
    """Return which methods were used, and where."""
    if {shares, others} <= used:
        return f"{shares} where documents are right or wrong, {others} elsewhere"
    return next((method for method in (shares, others) if method in used), "")


def _records(
    runs: Sequence[Run],
    names: Sequence[str],
    baseline: int | None,
    found: Sequence[Column],
    numbers: Sequence[Sequence[Measured | None]],
    ways: Sequence[bool | None],
) -> Iterator[dict[str, Any]]:
    """Yield all numbers, one mapping per model, task and metric."""
    for column, measured, way in zip(found, numbers, ways, strict=True):
        for i, each in enumerate(measured):
            if each is None:
                continue
            run, result = runs[i], runs[i].tasks[column.task]
            metric, _, filter_name = column.key.partition(",")
            yield {
                "label": names[i],
                "model": run.model,
                "pretrained": run.args.get("pretrained"),
                "peft": run.args.get("peft"),
                "boundary": run.boundary,
                "num_layers": run.layers,
                "kept_parameters": run.kept,
                "role": run.role or None,
                "task": column.task,
                "task_version": result.version,
                "group": result.group,
                "metric": metric,
                "filter": filter_name,
                "higher_is_better": way,
                **asdict(each),
                "baseline": None if baseline is None else names[baseline],
                "lm_eval_version": result.lm_eval,
                "model_args": json.dumps(run.args, default=str),
                "results": str(result.file),
            }
