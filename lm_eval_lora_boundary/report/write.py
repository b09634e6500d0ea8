"""From the folder of a finished sweep to its plots and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import (
    CONFIRMED,
    PLOTS,
    REPORT,
    boundary_folder,
    file_name,
    write_bytes,
    write_text,
)
from . import page, style
from .data import TaskFound
from .documents import DocumentSet, read_documents
from .lm_eval_files import newest_results
from .plots import draw
from .read import read_sweep


def write_report(folder: Path) -> Path:
    """Write ``plots/TASK/*.png``, ``plots/TASK/*.svg`` and ``report.html`` of a finished sweep.

    Args:
        folder: Folder of the sweep.

    Returns:
        Path of the page.

    Raises:
        OutputError: The folder holds no finished sweep, or cannot be written.
    """
    found = read_sweep(folder)
    results = newest_results(boundary_folder(folder, found.tasks[0].rows[0].boundary))
    full = _full(results)
    sections = []
    for each in found.tasks:
        task = replace(each, directions=_directions(results, each.name))
        # all samples are read before anything is written
        sets = _document_sets(folder, task)
        sections.append((task, sets))
    pages = [
        page.Section(task, full, _write_plots(folder, task, full), sets) for task, sets in sections
    ]
    path = folder / REPORT
    write_text(path, page.render(found, pages))
    return path


def _full(results: Mapping[str, Any]) -> int | None:
    """Return the boundary that keeps the whole adapter, from what lm-eval's results record."""
    config = results.get("config")
    layers = config.get("num_layers") if isinstance(config, dict) else None
    return layers - 1 if isinstance(layers, int) else None


def _directions(results: Mapping[str, Any], task: str) -> dict[str, bool]:
    """Return of each metric that lm-eval says it of whether more is better."""
    known = results.get("higher_is_better")
    found = known.get(task) if isinstance(known, dict) else None
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: higher for name, higher in pairs if isinstance(higher, bool)}


def _document_sets(folder: Path, task: TaskFound) -> list[tuple[str, DocumentSet]]:
    """Return the documents of a sweep, and those of its confirmation."""
    values = {row.boundary: row.value for row in task.rows}
    sets = [(task.split or "all", read_documents(folder, task.name, task.metric, values))]
    if task.test is not None:
        confirmed_in = folder / CONFIRMED / file_name(task.name)
        values = {row.boundary: row.value for row in task.test.rows}
        confirmed = read_documents(confirmed_in, task.name, task.metric, values)
        sets.append((task.test.split, confirmed))
    return sets


def _write_plots(folder: Path, task: TaskFound, full: int | None) -> list[page.Picture]:
    """Write the plots of a task, and return them for the page."""
    target = folder / PLOTS / file_name(task.name)
    pictures = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for plot in draw(task, full):
            drawing = style.svg(plot.figure)
            write_text(target / f"{plot.name}.svg", drawing)
            write_bytes(target / f"{plot.name}.png", style.png(plot.figure))
            pictures.append(page.picture(plot, drawing))
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}") from error
    return pictures
