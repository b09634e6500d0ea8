"""How far the best boundary moves between sweeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from statistics import median
from typing import Any

from ..errors import TaskError
from .choices import Choice, choices
from .comparison import Cell, Comparison, Grid, text, unique
from .labels import short
from .sweeps import Sweep

_NONE = "–"
_SHOWN = 0.05  # boundaries that win less often than that are not listed


def stability(
    sweeps: Sequence[Sweep], metrics: Sequence[str] = (), tasks: Sequence[str] = ()
) -> Comparison:
    """Compare the boundaries that sweeps chose.

    Args:
        sweeps: The sweeps, at least two.
        metrics: Must be empty: a sweep has chosen by one metric.
        tasks: Names of tasks, ``*`` for any text. Default: all.

    Raises:
        TaskError: No sweep has such a task, or a metric was asked for.
        OutputError: The results of a boundary are damaged.
    """
    if metrics:
        raise TaskError(
            f"metric={metrics[0]}: sweeps are compared by the metric that each chose by; run them "
            "again with --metric, which answers nothing anew, or give boundary=K/ folders"
        )
    names = short([str(sweep.folder.resolve()) for sweep in sweeps])
    adapters = short([str(sweep.settings.get("peft", _NONE)) for sweep in sweeps])
    known = list(dict.fromkeys(task for sweep in sweeps for task in sweep.tasks))
    for asked in tasks:
        if not any(fnmatchcase(task, asked) for task in known):
            raise TaskError(f"tasks={asked} is in none of the sweeps; they have {', '.join(known)}")
    wanted = [t for t in known if not tasks or any(fnmatchcase(t, asked) for asked in tasks)]
    chosen = [
        choice
        for sweep, name, adapter in zip(sweeps, names, adapters, strict=True)
        for choice in choices(sweep, name, adapter, wanted)
    ]
    groups = [[each for each in chosen if each.task == task] for task in wanted]
    groups = [group for group in groups if len(group) > 1]
    if len(wanted) > 1:
        groups.append(chosen)
    return Comparison(
        title="Stability of the boundary",
        grids=(_each(chosen), _over(groups), _boundaries(groups)),
        sentences=tuple(_sentence(group) for group in groups),
        legend=_LEGEND,
        warnings=unique([line for group in groups for line in _warnings(group)]),
        records=tuple(_record(choice) for choice in chosen),
    )


_LEGEND = (
    "best: boundary with the best value, the smaller of equals; depth: share of the layers that "
    "keep LoRA there",
    "wins: share of document sets, drawn anew from those of the sweep, on which the best one is "
    "best",
    "equivalent: boundaries that the best one is not significantly better than (5 %, one boundary "
    "at a time), among those that were scored",
)


def _each(chosen: Sequence[Choice]) -> Grid:
    """Return the table with one row per sweep and task."""
    names = ["sweep", "adapter", "task", "metric", "documents", "layers"]
    names += ["best", "depth", "value", "wins", "smallest equivalent", "equivalent"]
    return Grid(
        "What each sweep chose",
        tuple(text(name) if i < 4 else Cell((name,)) for i, name in enumerate(names)),
        tuple(
            (
                *(text(each) for each in (c.sweep, c.adapter, c.task, _short(c.metric))),
                *_numbers(c.documents, c.layers),
                Cell((str(c.best),), strong=True),
                Cell((_percent(c.depth),)),
                Cell((_NONE if c.value is None else f"{c.value:.3f}",)),
                Cell((_percent(c.win_rates[c.best]),)),
                *_numbers(c.smallest_equivalent),
                Cell((_NONE if c.equivalent is None else ranges(c.equivalent),)),
            )
            for c in chosen
        ),
    )


def _over(groups: Sequence[Sequence[Choice]]) -> Grid:
    """Return the table over sweeps, one row per task and one for all tasks."""
    names = ["task", "choices", "best", "median best", "depth", "median depth"]
    names += ["equivalent in all"]
    rows = []
    for group in groups:
        best = [each.best for each in group]
        depths = [each.depth for each in group if each.depth is not None]
        shared = common(group)
        rows.append(
            (
                text(_task(group)),
                Cell((str(len(group)),)),
                Cell((f"{min(best)} to {max(best)}",)),
                Cell((f"{median(best):g}",)),
                Cell((f"{min(depths):.0%} to {max(depths):.0%}" if depths else _NONE,)),
                Cell((_percent(median(depths) if depths else None),)),
                Cell((_NONE if shared is None else ranges(shared) or "none",)),
            )
        )
    headings = tuple(text(name) if i == 0 else Cell((name,)) for i, name in enumerate(names))
    return Grid("Over sweeps", headings, tuple(rows))


def _boundaries(groups: Sequence[Sequence[Choice]]) -> Grid:
    """Return the table of boundaries that win somewhere, those that win most often first."""
    rows = []
    for group in groups:
        wins = {b: [each.win_rates.get(b) or 0.0 for each in group] for b in _tested(group)}
        best = Counter(each.best for each in group)
        for boundary in sorted(wins, key=lambda b: (-sum(wins[b]), b)):
            share = sum(wins[boundary]) / len(group)
            if boundary not in best and share < _SHOWN:
                continue
            equal = sum(boundary in (each.equivalent or ()) for each in group)
            rows.append(
                (
                    text(_task(group)),
                    Cell((str(boundary),)),
                    Cell((f"{best[boundary]} of {len(group)}",)),
                    Cell((_percent(share),)),
                    Cell((f"{equal} of {len(group)}",)),
                )
            )
    names = ["task", "boundary", "best in", "wins on average", "equivalent in"]
    headings = tuple(text(name) if i == 0 else Cell((name,)) for i, name in enumerate(names))
    return Grid("Which boundaries win", headings, tuple(rows))


def _tested(group: Iterable[Choice]) -> set[int]:
    return {boundary for each in group for boundary in each.tested}


def common(group: Iterable[Choice]) -> list[int] | None:
    """Return the boundaries that are equivalent to the best in all; None where it is not known."""
    sets = [each.equivalent for each in group]
    known = [set(each) for each in sets if each is not None]
    return sorted(set.intersection(*known)) if len(known) == len(sets) else None


def ranges(boundaries: Iterable[int]) -> str:
    """Return sorted numbers as text: ``-1, 3-5, 9``."""
    parts: list[list[int]] = []
    for boundary in boundaries:
        if parts and boundary == parts[-1][-1] + 1:
            parts[-1].append(boundary)
        else:
            parts.append([boundary])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]} to {p[-1]}" for p in parts)


def _sentence(group: Sequence[Choice]) -> str:
    """Return in plain words how far the best boundary moves."""
    best = [each.best for each in group]
    same_task = len({each.task for each in group}) == 1
    what = "sweeps" if same_task else "choices of a sweep for a task"
    over = f"{_task(group)}: over {len(group)} {what} the best boundary"
    if min(best) == max(best):
        said = f"{over} is always {best[0]}"
    else:
        said = f"{over} moves from {min(best)} to {max(best)} (median {median(best):g})"
    layers = {each.layers for each in group}
    if len(layers) == 1 and None not in layers:
        said += f", of {layers.pop()} layers"
    shared = common(group)
    if shared is None:
        return f"{said}."
    if not shared:
        return f"{said}. No boundary is equivalent to the best one in all of them."
    return f"{said}. Equivalent to the best one in all of them: {ranges(shared)}."


def _warnings(group: Sequence[Choice]) -> Iterator[str]:
    """Yield what makes choices hard to compare."""
    same_task = len({each.task for each in group}) == 1
    for attribute, what in (("metric", "by different metrics"), ("documents", "of different size")):
        values = {str(getattr(each, attribute)) for each in group}
        if same_task and len(values) > 1:
            yield f"{_task(group)}: choices {what} ({', '.join(sorted(values))})"
    if len({each.layers for each in group}) > 1:
        yield f"{_task(group)}: models of different depth; compare the shares of depth"
    if len({each.tested for each in group}) > 1:
        yield f"{_task(group)}: the sweeps did not score the same boundaries"
    for each in group:
        if each.equivalent and each.smallest_equivalent not in (None, each.equivalent[0]):
            yield (
                f"{each.sweep}, {each.task}: sweep.json says {each.smallest_equivalent} for the "
                f"smallest equivalent, the samples say {each.equivalent[0]}: it was written by "
                "another version"
            )
        if each.equivalent is None:
            yield f"{each.sweep}, {each.task}: no samples that tell which boundaries are equivalent"


def _record(choice: Choice) -> dict[str, Any]:
    """Return a choice for CSV."""
    record = asdict(choice) | {"depth": choice.depth}
    record["win_rate"] = record.pop("win_rates")[choice.best]
    for name in ("tested", "equivalent"):
        if record[name] is not None:
            record[name] = " ".join(map(str, record[name]))
    return record


def _task(group: Sequence[Choice]) -> str:
    """Return the task of choices, or that there are several."""
    tasks = {each.task for each in group}
    return tasks.pop() if len(tasks) == 1 else "all tasks"


def _short(key: str) -> str:
    return key.removesuffix(",none")


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{value:.0%}"


def _numbers(*values: int | None) -> tuple[Cell, ...]:
    """Return cells of whole numbers."""
    return tuple(Cell((_NONE if value is None else str(value),)) for value in values)
