"""How far the best boundary moves between sweeps, and what cuts are worth over training seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from statistics import mean, median
from typing import Any

from ..errors import TaskError
from .best_boundaries import BestBoundary, best_boundaries
from .comparison import Cell, Comparison, Table, text_cell
from .labels import shortest_suffixes
from .seed_notes import seed_legend, seed_records, seed_sentence, seed_table, seed_warnings
from .seeds import seed_averages
from .sweeps import Sweep, nothing_chosen

_NONE = "–"
_MINOR = (6, 3)  # again on halves, and layers
_MINOR_ACROSS = (4, 5)  # depth and its median
_MIN_SHARE = 0.05  # boundaries that are chosen again less often are not listed
_LEGEND = (
    "best: boundary with the best value, the smallest if several are equal; depth: share of the "
    "layers that keep the adapter at that boundary",
    "again on halves: where a boundary is the best on a random half of the documents, how often it "
    "is the best on the other half too; ties are shared",
    "keeps the gain: the smallest cut that the sweep showed to keep the adapter's gain, within its "
    "margin; recommended: what the sweep recommends",
)


def stability(
    sweeps: Sequence[Sweep], metrics: Sequence[str] = (), tasks: Sequence[str] = ()
) -> Comparison:
    """Compare the best boundaries of sweeps, and average over those that differ in the adapter.

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
    wanted = _wanted(sweeps, tasks)
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
    averages, lines = seed_averages(sweeps, labels, wanted)
    warnings += [line for group in groups for line in _warnings(group)] + lines
    warnings += [line for average in averages for line in seed_warnings(average)]
    return Comparison(
        title="Stability of the boundary",
        tables=(
            _best_table(entries),
            *((_summary_table(groups), _chosen_table(groups)) if groups else ()),
            *map(seed_table, averages),
        ),
        sentences=(*map(_sentence, groups), *map(seed_sentence, averages)),
        legend=(*_LEGEND, *(seed_legend() if averages else ())),
        warnings=tuple(dict.fromkeys(warnings)),
        records=tuple(map(_record, entries)),
        over_seeds=tuple(record for average in averages for record in seed_records(average)),
    )


def _wanted(sweeps: Sequence[Sweep], patterns: Sequence[str]) -> list[str]:
    """Return the tasks to compare."""
    known = list(dict.fromkeys(task for sweep in sweeps for task in sweep.tasks))
    for pattern in patterns:
        if not any(fnmatchcase(task, pattern) for task in known):
            raise TaskError(
                f"tasks={pattern} is not in any of the sweeps; they have {', '.join(known)}"
            )
    return [t for t in known if not patterns or any(fnmatchcase(t, p) for p in patterns)]


def _best_table(entries: Sequence[BestBoundary]) -> Table:
    """Return the table with one row per sweep and task."""
    headings = _headings(
        *("sweep\nadapter", "task\nmetric", "documents", "layers", "best\ndepth", "value"),
        *("again\non halves", "keeps\nthe gain", "recommended"),
        text_columns=2,
    )
    rows = tuple(
        (
            text_cell(c.sweep, c.adapter),
            text_cell(c.task, c.metric.removesuffix(",none")),
            *_cells(c.documents, c.layers),
            Cell((str(c.best), _percent(c.depth) or _NONE), bold=True),
            *_cells(
                None if c.value is None else f"{c.value:.3f}",
                _percent(c.shares.get(c.best)),
                c.smallest_noninferior,
                c.choice,
            ),
        )
        for c in entries
    )
    return Table("Best boundary of each sweep", headings, rows, minor=_MINOR)


def _summary_table(groups: Sequence[Sequence[BestBoundary]]) -> Table:
    """Return the table over sweeps: one row per task, and one for all tasks."""
    rows = []
    for group in groups:
        best = [entry.best for entry in group]
        depths = [entry.depth for entry in group if entry.depth is not None]
        rows.append(
            (
                text_cell(_task_label(group)),
                *_cells(
                    len(group),
                    f"{min(best)} to {max(best)}",
                    f"{median(best):g}",
                    f"{min(depths):.0%} to {max(depths):.0%}" if depths else None,
                    _percent(median(depths) if depths else None),
                    keeps_gain_in_all(group),
                ),
            )
        )
    headings = _headings(
        *("task", "count", "best", "median best", "depth", "median depth"),
        "keeps the gain\nin all",
    )
    return Table("Across sweeps", headings, tuple(rows), minor=_MINOR_ACROSS)


def _chosen_table(groups: Sequence[Sequence[BestBoundary]]) -> Table:
    """Return the table of boundaries that are the best somewhere, those chosen most often first."""
    rows = []
    for group in groups:
        best = Counter(entry.best for entry in group)
        shares = {
            boundary: _mean_share(group, boundary)
            for boundary in {boundary for entry in group for boundary in entry.tested}
        }
        # a boundary that is never the best is said to be the best as often as any, by chance
        least = max(_MIN_SHARE, 1 / len(shares) + 1e-9)
        for boundary, share in sorted(
            shares.items(), key=lambda pair: (-(pair[1] or 0), -best[pair[0]], pair[0])
        ):
            if boundary not in best and (share or 0) < least:
                continue
            cells = _cells(boundary, f"{best[boundary]} of {len(group)}", _percent(share))
            rows.append((text_cell(_task_label(group)), *cells))
    headings = _headings("task", "boundary", "best in", "again on halves,\non average")
    return Table("Which boundaries are chosen", headings, tuple(rows))


def _mean_share(group: Sequence[BestBoundary], boundary: int) -> float | None:
    """Return how often a boundary is chosen on average; None if a sweep does not say it.

    A sweep that did not score the boundary never chooses it.
    """
    shares = [entry.shares.get(boundary, 0.0) for entry in group]
    known = [share for share in shares if share is not None]
    return mean(known) if len(known) == len(shares) else None


def keeps_gain_in_all(group: Sequence[BestBoundary]) -> int | None:
    """Return the smallest boundary that every sweep showed to keep the gain, or None.

    A sweep tests from the top down and stops at the first boundary that fails, so all boundaries
    above its smallest keep the gain too.
    """
    smallest = [entry.smallest_noninferior for entry in group]
    known = [boundary for boundary in smallest if isinstance(boundary, int)]
    if len(known) < len(smallest) or len({entry.layers for entry in group}) > 1:
        return None
    largest = max(known)
    return largest if all(largest in entry.tested for entry in group) else None


def _headings(*names: str, text_columns: int = 1) -> tuple[Cell, ...]:
    return tuple(
        Cell(tuple(name.split("\n")), left_aligned=i < text_columns) for i, name in enumerate(names)
    )


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
    kept = keeps_gain_in_all(group)
    if kept is not None:
        return f"{sentence}. Boundary {kept} is the smallest shown to keep the gain in all of them."
    if not all(entry.gain_tested for entry in group):
        return f"{sentence}."
    shown = sum(entry.smallest_noninferior is not None for entry in group)
    return f"{sentence}. A cut is shown to keep the gain in {shown} of them."


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


def _record(entry: BestBoundary) -> dict[str, Any]:
    """Return an entry as a record; sequences become text."""
    record = asdict(entry) | {"depth": entry.depth}
    record["selection_share"] = record.pop("shares").get(entry.best)
    record["tested"] = " ".join(map(str, entry.tested))
    return record


def _is_one_task(group: Sequence[BestBoundary]) -> bool:
    return len({entry.task for entry in group}) == 1


def _task_label(group: Sequence[BestBoundary]) -> str:
    return group[0].task if _is_one_task(group) else "all tasks"


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"


def _cells(*values: int | str | None) -> tuple[Cell, ...]:
    return tuple(Cell((_NONE if value is None else str(value),)) for value in values)
