"""The best boundaries of sweeps, from ``sweep.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .sweeps import Sweep, nothing_chosen


@dataclass(frozen=True)
class BestBoundary:
    """The best boundary of one task in one sweep, and what the sweep recommends.

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
        shares: By boundary, how often it is the best on a random half of the documents.
        smallest_noninferior: The smallest cut that is shown to keep the adapter's gain: a boundary,
            or a notation. None if there is none.
        gain_tested: Whether the sweep asked for it; older ones did not.
        choice: The cut that the sweep recommends: a boundary, or a notation.
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
    shares: Mapping[int, float | None]
    smallest_noninferior: int | str | None
    gain_tested: bool
    choice: int | str | None

    @property
    def depth(self) -> float | None:
        """Share of the layers that keep the adapter at the best boundary."""
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
    layers = sweep.layers()
    for task in tasks:
        if task not in sweep.tasks or task in nothing_chosen(sweep):
            continue
        entry = sweep.tasks[task]
        rows = {row["boundary"]: row for row in entry["boundaries"]}
        best = _best(entry)
        if best is None:
            continue
        documents = entry.get("documents")
        if documents is None:
            run = sweep.run(best)
            documents = run.tasks[task].documents if run and task in run.tasks else None
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
            shares={boundary: row.get("selection_share") for boundary, row in rows.items()},
            smallest_noninferior=entry.get("smallest_noninferior"),
            gain_tested="smallest_noninferior" in entry,
            choice=entry.get("choice"),
        )


def _best(entry: Mapping[str, Any]) -> int | None:
    """Return the best boundary; the best cut of a sweep may be none. None if it is not known."""
    found = [entry["best"], entry.get("best_boundary")]
    return next((best for best in found if isinstance(best, int)), None)
