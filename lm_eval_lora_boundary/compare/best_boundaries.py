"""The best boundaries of sweeps, from ``sweep.json`` and the logged samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .resample import documents_of, resample
from .runs import TaskResult
from .samples import SamplesFiles
from .sweeps import Sweep, nothing_chosen


@dataclass(frozen=True)
class BestBoundary:
    """The best boundary of one task in one sweep.

    Attributes:
        sweep: Label of the sweep.
        adapter: Label of the adapter.
        task: The task.
        metric: lm-eval's key of the metric, ``metric,filter``.
        documents: Number of documents.
        layers: Number of layers of the model.
        tested: The boundaries that were scored.
        best: The best boundary.
        value: Its value.
        win_rates: By boundary, the share of resampled document sets on which it is the best.
        smallest_equivalent: The smallest equivalent boundary according to ``sweep.json``.
        equivalent: The boundaries that the best one does not beat significantly; None if the
            samples do not show it.
    """

    sweep: str
    adapter: str
    task: str
    metric: str
    documents: int | None
    layers: int | None
    tested: tuple[int, ...]
    best: int
    value: float | None
    win_rates: Mapping[int, float | None]
    smallest_equivalent: int | None
    equivalent: tuple[int, ...] | None

    @property
    def depth(self) -> float | None:
        """Share of the layers that keep LoRA at the best boundary."""
        return None if self.layers is None else (self.best + 1) / self.layers


def best_boundaries(
    sweep: Sweep, label: str, adapter: str, tasks: Sequence[str]
) -> Iterator[BestBoundary]:
    """Yield the best boundary of a sweep for each task.

    Tasks that the sweep lacks, or on which it chose nothing, are skipped. ``label`` and
    ``adapter`` are the labels to show.

    Raises:
        OutputError: The results of a boundary are damaged.
    """
    files = SamplesFiles()
    layers = sweep.layers()
    for task in tasks:
        if task not in sweep.tasks or task in nothing_chosen(sweep):
            continue
        entry = sweep.tasks[task]
        rows = {row["boundary"]: row for row in entry["boundaries"]}
        best = _best(entry)
        if best is None:
            continue
        results = {
            boundary: run.tasks[task]
            for boundary in rows
            if (run := sweep.run(boundary)) is not None
            and task in run.tasks
            and entry["metric"] in run.tasks[task].values
        }
        documents = entry.get("documents")
        if documents is None and best in results:
            documents = results[best].documents
        yield BestBoundary(
            sweep=label,
            adapter=adapter,
            task=task,
            metric=entry["metric"],
            documents=documents,
            layers=layers,
            tested=tuple(sorted(rows)),
            best=best,
            value=rows[best]["value"],
            win_rates={boundary: row.get("win_rate") for boundary, row in rows.items()},
            smallest_equivalent=entry.get("smallest_equivalent"),
            equivalent=_equivalent(results, entry, files),
        )


def _best(entry: Mapping[str, Any]) -> int | None:
    """Return the best boundary; the best cut of a sweep may be none. None if it is not known."""
    found = [entry["best"], entry.get("best_boundary")]
    return next((best for best in found if isinstance(best, int)), None)


def _equivalent(
    results: Mapping[int, TaskResult], entry: Mapping[str, Any], files: SamplesFiles
) -> tuple[int, ...] | None:
    """Return the boundaries that the best one does not beat significantly."""
    best, key = _best(entry), entry["metric"]
    if best is None or best not in results:
        return None
    documents = documents_of(results[best], key, files).keys()
    # a race stops some boundaries early; these have lost
    complete = [b for b, r in results.items() if documents_of(r, key, files).keys() == documents]
    resampled = resample(
        [results[boundary] for boundary in complete],
        key,
        files,
        higher_is_better=entry.get("higher_is_better", True),
    )
    if resampled is None:
        return None
    not_worse = resampled[0].not_worse()
    return tuple(sorted(b for b, same in zip(complete, not_worse, strict=True) if same))
