"""How far the best boundary moves between sweeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from statistics import median
from typing import Any

from ..errors import TaskError
from .best_boundaries import BestBoundary, best_boundaries
from .comparison import Cell, Comparison, Table, text_cell
from .labels import shortest_suffixes
from .sweeps import Sweep, nothing_chosen

_NONE = "–"
_MIN_WIN_RATE = 0.05  # boundaries that win less often are not listed
_LEGEND = (
    "best: boundary with the best value, the smallest if several are equal; depth: share of the "
    "layers that keep LoRA at that boundary",
    "wins: how often a boundary comes out best when the documents are resampled",
    "equivalent: scored boundaries that the best one does not beat significantly (5 % level, each "
    "boundary tested on its own)",
)


def stability(
    sweeps: Sequence[Sweep], metrics: Sequence[str] = (), tasks: Sequence[str] = ()
) -> Comparison:
    """Compare the best boundaries of sweeps.

    ``tasks`` are names of tasks, where ``*`` matches any text; by default, all are included.

    Raises:
        TaskError: No sweep has the task or chose a boundary, or ``metrics`` is not empty.
        OutputError: The results of a boundary are damaged.
    """
    if metrics:
        raise TaskError(
            f"metric={metrics[0]}: sweeps are compared by the metric that each one used; run "
            "them again with --metric, which reuses their answers, or give boundary=K/ folders"
        )
    labels = shortest_suffixes([str(sweep.folder.resolve()) for sweep in sweeps])
    adapters = shortest_suffixes([str(sweep.settings.get("peft", _NONE)) for sweep in sweeps])
    known = list(dict.fromkeys(task for sweep in sweeps for task in sweep.tasks))
    for pattern in tasks:
        if not any(fnmatchcase(task, pattern) for task in known):
            raise TaskError(
                f"tasks={pattern} is not in any of the sweeps; they have {', '.join(known)}"
            )
    wanted = [t for t in known if not tasks or any(fnmatchcase(t, pattern) for pattern in tasks)]
    entries = [
        entry
        for sweep, label, adapter in zip(sweeps, labels, adapters, strict=True)
        for entry in best_boundaries(sweep, label, adapter, wanted)
    ]
    unchosen = [nothing_chosen(sweep) for sweep in sweeps]
    warnings = [lines[task] for lines in unchosen for task in wanted if task in lines]
    if not entries:
        raise TaskError(
            f"there is no best boundary to compare; {'; '.join(warnings)}. To compare the scores, "
            "give boundary=K/ folders"
        )
    groups = [[entry for entry in entries if entry.task == task] for task in wanted]
    groups = [group for group in groups if len(group) > 1]
    if not _is_one_task(entries):
        groups.append(entries)
    return Comparison(
        title="Stability of the boundary",
        tables=(
            _best_table(entries),
            *((_summary_table(groups), _winners_table(groups)) if groups else ()),
        ),
        sentences=tuple(map(_sentence, groups)),
        legend=_LEGEND,
        warnings=tuple(
            dict.fromkeys([*warnings, *(line for group in groups for line in _warnings(group))])
        ),
        records=tuple(map(_record, entries)),
    )


def _best_table(entries: Sequence[BestBoundary]) -> Table:
    """Return the table with one row per sweep and task."""
    names = ["sweep", "adapter", "task", "metric", "documents", "layers"]
    names += ["best", "depth", "value", "wins", "smallest equivalent", "equivalent"]
    return Table(
        "Best boundary of each sweep",
        _headings(names, text_columns=4),
        tuple(
            (
                *map(text_cell, (c.sweep, c.adapter, c.task, c.metric.removesuffix(",none"))),
                *_integer_cells(c.documents, c.layers),
                Cell((str(c.best),), bold=True),
                Cell((_percent(c.depth),)),
                Cell((_NONE if c.value is None else f"{c.value:.3f}",)),
                Cell((_percent(c.win_rates[c.best]),)),
                *_integer_cells(c.smallest_equivalent),
                Cell((_NONE if c.equivalent is None else format_ranges(c.equivalent),)),
            )
            for c in entries
        ),
    )


def _summary_table(groups: Sequence[Sequence[BestBoundary]]) -> Table:
    """Return the table over sweeps: one row per task, and one for all tasks."""
    names = ["task", "count", "best", "median best", "depth", "median depth"]
    names += ["equivalent in all"]
    rows = []
    for group in groups:
        best = [entry.best for entry in group]
        depths = [entry.depth for entry in group if entry.depth is not None]
        shared = equivalent_in_all(group)
        rows.append(
            (
                text_cell(_task_label(group)),
                Cell((str(len(group)),)),
                Cell((f"{min(best)} to {max(best)}",)),
                Cell((f"{median(best):g}",)),
                Cell((f"{min(depths):.0%} to {max(depths):.0%}" if depths else _NONE,)),
                Cell((_percent(median(depths) if depths else None),)),
                Cell((_NONE if shared is None else format_ranges(shared) or "none",)),
            )
        )
    return Table("Across sweeps", _headings(names), tuple(rows))


def _winners_table(groups: Sequence[Sequence[BestBoundary]]) -> Table:
    """Return the table of boundaries that win in some sweep, most frequent winners first."""
    rows = []
    for group in groups:
        tested = {boundary for entry in group for boundary in entry.tested}
        wins = {b: [entry.win_rates.get(b) or 0.0 for entry in group] for b in tested}
        best = Counter(entry.best for entry in group)
        for boundary in sorted(wins, key=lambda b: (-sum(wins[b]), b)):
            win_rate = sum(wins[boundary]) / len(group)
            if boundary not in best and win_rate < _MIN_WIN_RATE:
                continue
            equivalent = sum(boundary in (entry.equivalent or ()) for entry in group)
            rows.append(
                (
                    text_cell(_task_label(group)),
                    Cell((str(boundary),)),
                    Cell((f"{best[boundary]} of {len(group)}",)),
                    Cell((_percent(win_rate),)),
                    Cell((f"{equivalent} of {len(group)}",)),
                )
            )
    names = ["task", "boundary", "best in", "wins on average", "equivalent in"]
    return Table("Which boundaries win", _headings(names), tuple(rows))


def _headings(names: Sequence[str], text_columns: int = 1) -> tuple[Cell, ...]:
    return tuple(Cell((name,), left_aligned=i < text_columns) for i, name in enumerate(names))


def equivalent_in_all(group: Iterable[BestBoundary]) -> list[int] | None:
    """Return the boundaries that are equivalent to the best one in all; None if not known."""
    sets = [None if entry.equivalent is None else set(entry.equivalent) for entry in group]
    known = [boundaries for boundaries in sets if boundaries is not None]
    return sorted(set.intersection(*known)) if len(known) == len(sets) else None


def format_ranges(boundaries: Iterable[int]) -> str:
    """Return sorted integers as text, such as ``-1, 3 to 5, 9``."""
    ranges: list[list[int]] = []
    for boundary in boundaries:
        if ranges and boundary == ranges[-1][-1] + 1:
            ranges[-1].append(boundary)
        else:
            ranges.append([boundary])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in ranges)


def _sentence(group: Sequence[BestBoundary]) -> str:
    """Say how far the best boundary moves."""
    best = [entry.best for entry in group]
    unit = "sweeps" if _is_one_task(group) else "pairs of sweep and task"
    sentence = f"{_task_label(group)}: across {len(group)} {unit}, the best boundary "
    if min(best) == max(best):
        sentence += f"is always {best[0]}"
    else:
        sentence += f"ranges from {min(best)} to {max(best)} (median {median(best):g})"
    layers = {entry.layers for entry in group}
    if len(layers) == 1 and None not in layers:
        sentence += f" in a model of {layers.pop()} layers"
    shared = equivalent_in_all(group)
    if shared is None:
        return f"{sentence}."
    if not shared:
        return f"{sentence}. No boundary is equivalent to the best one in all of them."
    return f"{sentence}. Equivalent to the best one in all of them: {format_ranges(shared)}."


def _warnings(group: Sequence[BestBoundary]) -> Iterator[str]:
    """Warn about what makes the best boundaries hard to compare."""
    task = _task_label(group)
    if _is_one_task(group):
        metrics = sorted({entry.metric for entry in group})
        if len(metrics) > 1:
            yield f"{task}: the sweeps used different metrics ({' and '.join(metrics)})"
        counts = sorted({str(entry.documents) for entry in group})
        if len(counts) > 1:
            yield f"{task}: the sweeps used different numbers of documents ({' and '.join(counts)})"
    if len({entry.layers for entry in group}) > 1:
        yield f"{task}: the models have different numbers of layers; compare the depths"
    if len({entry.tested for entry in group}) > 1:
        yield f"{task}: the sweeps did not score the same boundaries"
    for entry in group:
        where = f"{entry.sweep}, {entry.task}"
        if entry.equivalent is None:
            yield f"{where}: no samples that show which boundaries are equivalent"
        elif entry.equivalent and entry.smallest_equivalent not in (None, entry.equivalent[0]):
            yield (
                f"{where}: according to sweep.json the smallest equivalent boundary is "
                f"{entry.smallest_equivalent}, according to the samples {entry.equivalent[0]}; "
                "sweep.json was written by another version"
            )


def _record(entry: BestBoundary) -> dict[str, Any]:
    """Return an entry as a record; sequences become text."""
    record = asdict(entry) | {"depth": entry.depth}
    record["win_rate"] = record.pop("win_rates")[entry.best]
    for name in ("tested", "equivalent"):
        if record[name] is not None:
            record[name] = " ".join(map(str, record[name]))
    return record


def _is_one_task(group: Sequence[BestBoundary]) -> bool:
    return len({entry.task for entry in group}) == 1


def _task_label(group: Sequence[BestBoundary]) -> str:
    return group[0].task if _is_one_task(group) else "all tasks"


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{value:.0%}"


def _integer_cells(*values: int | None) -> tuple[Cell, ...]:
    return tuple(Cell((_NONE if value is None else str(value),)) for value in values)
