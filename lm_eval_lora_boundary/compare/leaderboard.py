"""Models × tasks, with confidence intervals and paired differences from a baseline."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..errors import TaskError
from .columns import select_columns
from .comparison import Cell, Comparison, Table, text_cell
from .labels import labels
from .measure import Column, Measured
from .notes import clusters_legend, decimals, legend, signed, signed_interval, table_sentences
from .runs import Run
from .scored import Evidence

_NONE = "–"
_MINOR = (1, 2)  # boundary, which the name of a model has too, and kept parameters
_ARROWS = {True: " ↑", False: " ↓", None: ""}


def leaderboard(
    runs: Sequence[Run],
    baseline: int | None,
    metrics: Sequence[str],
    tasks: Sequence[str],
    warnings: Sequence[str] = (),
    *,
    chosen: bool = True,
) -> Comparison:
    """Compare models.

    Args:
        runs: The models.
        baseline: Index of the model to compare with; None for no comparison.
        metrics: As in :func:`.compare`.
        tasks: As in :func:`.compare`.
        warnings: Warnings to include.
        chosen: Whether the user chose the baseline. Then it is an error if no model can be paired
            with it.

    Raises:
        TaskError: The task or metric is unknown, or no model can be paired with the baseline.
        OutputError: A samples file is damaged.
    """
    names = labels(runs)
    evidence = Evidence()
    columns = [
        Column(task, key, runs, names, evidence)
        for task, key in select_columns(runs, metrics, tasks)
    ]
    measured = [column.measure(baseline) for column in columns]
    unpaired = [reason for column in columns for reason in column.unpaired]
    if unpaired and chosen and not _any_difference(measured):
        raise TaskError(unpaired[0])
    lines = [*warnings, *_version_warnings(runs, names)]
    lines += [line for column in columns for line in column.warnings]
    lines += [f"not compared: {reason}" for reason in unpaired]
    headings = [text_cell("model"), Cell(("boundary",)), Cell(("kept", "parameters"))]
    headings += [
        Cell((column.task, column.key.removesuffix(",none") + _ARROWS[column.direction]))
        for column in columns
    ]
    cells = [
        _cells(values, column.direction, baseline)
        for column, values in zip(columns, measured, strict=True)
    ]
    rows = tuple(
        (*_model_cells(run, name), *values)
        for run, name, *values in zip(runs, names, *cells, strict=True)
    )
    baseline_name = None if baseline is None else names[baseline]
    return Comparison(
        title="Comparison",
        tables=(Table("", tuple(headings), rows, minor=_MINOR),),
        sentences=tuple(table_sentences(columns, measured, names, baseline)),
        legend=(
            *legend(baseline_name, measured, chosen=chosen),
            *clusters_legend(columns),
        ),
        warnings=tuple(dict.fromkeys(lines)),
        records=tuple(_records(runs, names, baseline_name, columns, measured)),
    )


def _any_difference(measured: Sequence[Sequence[Measured | None]]) -> bool:
    return any(m is not None and m.difference is not None for column in measured for m in column)


def _model_cells(run: Run, name: str) -> tuple[Cell, Cell, Cell]:
    layers = "" if run.layers is None else f"of layers 0 to {run.layers - 1}"
    return (
        text_cell(name, tooltip=f"{run.full_name()} ({', '.join(map(str, run.files))})"),
        Cell((_NONE if run.boundary is None else str(run.boundary),), tooltip=layers),
        Cell((_NONE if run.kept_parameters is None else f"{run.kept_parameters:,}",)),
    )


def _cells(
    column: Sequence[Measured | None], direction: bool | None, baseline: int | None
) -> list[Cell]:
    """Return a column: value and interval, and below them the difference and its interval."""
    values = [m.value for m in column if m is not None and math.isfinite(m.value)]
    places = decimals(column)
    best = None if direction is None or not values else (max if direction else min)(values)
    return [
        Cell((_NONE,)) if m is None else _cell(m, places, best, direction, i == baseline)
        for i, m in enumerate(column)
    ]


def _cell(
    measured: Measured, places: int, best: float | None, direction: bool | None, baseline: bool
) -> Cell:
    if not math.isfinite(measured.value):
        return Cell(("n/a",))
    lines = [f"{measured.value:.{places}f}"]
    if measured.interval in ("bootstrap", "Wilson"):
        lines[0] += f" [{measured.low:.{places}f}, {measured.high:.{places}f}]"
    elif measured.high is not None:
        lines[0] += f" ±{measured.high - measured.value:.{places}f}"
    tooltip = "" if measured.documents is None else f"{measured.documents} documents"
    tone = ""
    if baseline:
        lines.append("baseline")
    elif measured.difference is not None:
        lines.append(signed(measured.difference, places) + signed_interval(measured, places))
    if measured.p_holm is not None:
        lines[1] += _mark(measured.p_holm)
        lines[1] += f" ({measured.common_documents} documents)" * measured.partly_compared
        tooltip += f", {measured.common_documents} in common; {measured.test}: "
        tooltip += f"p = {measured.p_value:.2g}, {measured.p_holm:.2g} after Holm"
        if measured.p_holm < 0.05 and direction is not None and measured.difference is not None:
            tone = "better" if (measured.difference > 0) == direction else "worse"
    return Cell(tuple(lines), tooltip, bold=measured.value == best, tone=tone)


def _mark(p_value: float) -> str:
    return " ‡" if p_value < 0.01 else " †" if p_value < 0.05 else ""


def _version_warnings(runs: Sequence[Run], names: Sequence[str]) -> Iterator[str]:
    """Warn if the results come from several versions of lm-eval."""
    users: dict[str, list[str]] = {}
    for run, name in zip(runs, names, strict=True):
        for version in dict.fromkeys(result.lm_eval for result in run.tasks.values()):
            users.setdefault(version, []).append(name)
    if len(users) > 1:
        versions = "; ".join(f"{version}: {', '.join(who)}" for version, who in users.items())
        yield f"results from several versions of lm-eval may not be comparable ({versions})"


def _records(
    runs: Sequence[Run],
    names: Sequence[str],
    baseline: str | None,
    columns: Sequence[Column],
    measured: Sequence[Sequence[Measured | None]],
) -> Iterator[dict[str, Any]]:
    """Yield all numbers, one mapping per model, task and metric."""
    for column, values in zip(columns, measured, strict=True):
        metric, _, filter_name = column.key.partition(",")
        for run, name, value in zip(runs, names, values, strict=True):
            if value is None:
                continue
            result = run.tasks[column.task]
            yield {
                "label": name,
                "model": run.model,
                "pretrained": run.args.get("pretrained"),
                "peft": run.args.get("peft"),
                "boundary": run.boundary,
                "num_layers": run.layers,
                "kept_parameters": run.kept_parameters,
                "role": run.role or None,
                "task": column.task,
                "task_version": result.version,
                "group": result.group,
                "metric": metric,
                "filter": filter_name,
                "higher_is_better": column.direction,
                **asdict(value),
                "baseline": baseline,
                "lm_eval_version": result.lm_eval,
                "model_args": json.dumps(run.args, default=str),
                "results": str(result.file),
            }
