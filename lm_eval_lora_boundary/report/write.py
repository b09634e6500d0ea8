"""Write the plots and the HTML page of a finished sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import (
    CONFIRMED,
    PLOTS,
    REPORT,
    SWEEP,
    cut_folder,
    file_name,
    read_object,
    write_text,
)
from . import page, style
from .checked import AGAIN, number
from .control_plots import draw_controls
from .control_tasks import ControlTask, control_tasks
from .data import Row, SweepFound, TaskFound
from .documents import DocumentSet, read_documents
from .examples import Example, read_examples
from .lm_eval_files import newest_results
from .plots import draw, draw_together
from .read import read_sweep
from .style import Plot

_LAST_DATE = 1e11  # in seconds; a larger number is no date
# plots that not every sweep has
_OF_SOME = {
    *("families", "layer_map", "layer_map_each", "layer_map_only"),
    *("gain_kept", "control"),
}


@dataclass(frozen=True)
class Found:
    """All that a report shows.

    Attributes:
        sweep: The sweep.
        full: The boundary that keeps the whole adapter; None if unknown.
        controls: The control tasks.
        documents: For each task, name and documents of each split.
        examples: For each task, some answers if nothing was measured.
    """

    sweep: SweepFound
    full: int | None
    controls: tuple[ControlTask, ...]
    documents: tuple[Sequence[tuple[str, DocumentSet]], ...]
    examples: tuple[Sequence[Example], ...]


def read_report(folder: Path) -> Found:
    """Read a finished sweep with its documents.

    Raises:
        OutputError: The folder has no finished sweep, or a file is damaged.
    """
    sweep = read_sweep(folder)
    results = newest_results(cut_folder(folder, sweep.tasks[0].rows[0].name))
    tasks = tuple(replace(t, directions=_directions(results, t.name)) for t in sweep.tasks)
    return Found(
        replace(sweep, tasks=tasks, date=_date(results)),
        _full(results),
        control_tasks(read_object(folder / SWEEP, AGAIN), folder / SWEEP),
        tuple(_document_sets(folder, task) if sweep.has_texts else [] for task in tasks),
        tuple(_examples(folder, task) if sweep.has_texts else () for task in tasks),
    )


def write_report(folder: Path) -> Path:
    """Write ``plots/TASK/*.png``, ``plots/TASK/*.svg`` and ``report.html``; return its path.

    What compares tasks is in ``plots/*.png`` and ``plots/*.svg``.

    Raises:
        OutputError: The folder has no finished sweep, or cannot be written to.
    """
    found = read_report(folder)  # all samples, before anything is written
    full, tasks = found.full, found.sweep.tasks
    sections = []
    for task, sets, examples in zip(tasks, found.documents, found.examples, strict=True):
        drawn = chain(draw(task, full), draw_controls(task, found.controls, full))
        plots = _write_plots(folder, file_name(task.name), drawn)
        sections.append(page.Section(task, full, plots, sets, examples))
    together = _write_plots(folder, "", draw_together(tasks, full))
    path = folder / REPORT
    write_text(path, page.render(found.sweep, sections, together))
    return path


def _full(results: Mapping[str, Any]) -> int | None:
    """Return the boundary that keeps the whole adapter, as recorded in lm-eval's results."""
    config = results.get("config")
    layers = config.get("num_layers") if isinstance(config, dict) else None
    return layers - 1 if isinstance(layers, int) else None


def _directions(results: Mapping[str, Any], task: str) -> dict[str, bool]:
    """Return whether higher is better, for each metric that lm-eval knows it of."""
    known = results.get("higher_is_better")
    found = known.get(task) if isinstance(known, dict) else None
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: higher for name, higher in pairs if isinstance(higher, bool)}


def _date(results: Mapping[str, Any]) -> str | None:
    """Return when lm-eval wrote its results."""
    seconds = number(results.get("date"))
    if seconds is None or not 0 <= seconds < _LAST_DATE:
        return None
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M} UTC"


def _examples(folder: Path, task: TaskFound) -> tuple[Example, ...]:
    """Return some answers of the whole adapter if the sweep gave no reason to choose."""
    if task.not_chosen is None:
        return ()
    return read_examples(folder, task.name, task.metric, task.best)


def _document_sets(folder: Path, task: TaskFound) -> list[tuple[str, DocumentSet]]:
    """Return the documents of a sweep and of its confirmation, with the names of their splits."""
    best = task.row(task.best)
    # of the cuts of other families, only the best
    others = [] if best is None or best in task.rows else [best]
    sets = [(task.split or "all", _documents(folder, task, task.rows, others))]
    if task.test is not None:
        confirmed_in = folder / CONFIRMED / file_name(task.name)
        boundaries = [row for row in task.test.rows if row.boundary is not None]
        others = [row for row in task.test.rows if row.boundary is None]
        confirmed = _documents(confirmed_in, task, boundaries, others)
        sets.append((task.test.split, confirmed))
    return sets


def _documents(
    folder: Path, task: TaskFound, rows: Sequence[Row], others: Sequence[Row]
) -> DocumentSet:
    """Return the documents under some cuts, and under those of the others that have a folder."""
    found = [row for row in others if cut_folder(folder, row.name).is_dir()]
    values = {row.name: row.value for row in (*rows, *found)}
    return read_documents(folder, task.name, task.metric, values)


def _write_plots(output: Path, task: str, plots: Iterable[Plot]) -> list[page.Picture]:
    """Write plots and return them for the page; remove those of an earlier sweep.

    Raises:
        OutputError: They cannot be written, or a link leads out of the output folder.
    """
    folder = output / PLOTS / task
    if not folder.resolve().is_relative_to(output.resolve()):
        raise OutputError(f"{folder} is a link that leads out of {output}; remove the link")
    names, pictures = set(), []
    for plot in plots:  # one figure after the other: each is drawn when it is asked for
        names.add(plot.name)
        pictures.append(page.picture(plot, style.save(plot.figure, folder, plot.name)))
    for old in folder.glob("*.*"):
        of_some = old.stem in _OF_SOME or old.stem.startswith("control_")
        if of_some and old.stem not in names:
            old.unlink(missing_ok=True)
    return pictures
