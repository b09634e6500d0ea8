"""The boundaries that sweeps chose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .resample import documents_of, resampled
from .runs import TaskResult
from .samples import SamplesFiles
from .sweeps import Sweep


@dataclass(frozen=True)
class Choice:
    """What a sweep found best for a task.

    Attributes:
        sweep: What to call the sweep.
        adapter: The adapter.
        task: The task.
        metric: lm-eval's key of the metric.
        documents: Number of documents.
        layers: Number of layers of the model.
        tested: The boundaries that were scored.
        best: The best of them.
        value: Its value.
        win_rates: By boundary, the share of draws of documents in which it is the best.
        smallest_equivalent: The smallest that the best is not significantly better than.
        equivalent: All of those; None if the samples do not tell.
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


def choices(sweep: Sweep, name: str, adapter: str, tasks: Sequence[str]) -> Iterator[Choice]:
    """Yield what a sweep chose, one per task.

    Args:
        sweep: The sweep.
        name: What to call it.
        adapter: What to call its adapter.
        tasks: The tasks that are wanted.

    Raises:
        OutputError: The results of a boundary are damaged.
    """
    files = SamplesFiles()
    layers = sweep.layers()
    for task in tasks:
        if task not in sweep.tasks:
            continue
        found = sweep.tasks[task]
        rows = {row["boundary"]: row for row in found["boundaries"]}
        best = found["best"]
        results = {
            boundary: run.tasks[task]
            for boundary in rows
            if (run := sweep.run(boundary)) is not None
            and found["metric"] in getattr(run.tasks.get(task), "values", ())
        }
        documents = found.get("documents")
        if documents is None and best in results:
            documents = results[best].documents
        equivalent = _equivalent(results, found, files)
        yield Choice(
            sweep=name,
            adapter=adapter,
            task=task,
            metric=found["metric"],
            documents=documents,
            layers=layers,
            tested=tuple(sorted(rows)),
            best=best,
            value=rows[best]["value"],
            win_rates={boundary: row.get("win_rate") for boundary, row in rows.items()},
            smallest_equivalent=found.get("smallest_equivalent"),
            equivalent=equivalent,
        )


def _equivalent(
    results: Mapping[int, TaskResult], found: Mapping[str, Any], files: SamplesFiles
) -> tuple[int, ...] | None:
    """Return the boundaries that the best one is not significantly better than."""
    best, key = found["best"], found["metric"]
    if best not in results:
        return None
    documents = documents_of(results[best], key, files).keys()
    # a race stops some boundaries early: they are out
    there = [b for b, r in results.items() if documents_of(r, key, files).keys() == documents]
    drawn = resampled(
        [results[boundary] for boundary in there],
        key,
        files,
        higher_is_better=found.get("higher_is_better", True),
    )
    if drawn is None:
        return None
    same = drawn[0].not_worse()
    return tuple(sorted(b for b, equal in zip(there, same, strict=True) if equal))
