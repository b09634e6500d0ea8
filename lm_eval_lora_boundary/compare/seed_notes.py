"""The average over training seeds as a table, a sentence and records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from .comparison import Cell, Table, text_cell
from .seeds import SeedAverage

_FEW_SEEDS = 5


def seed_table(average: SeedAverage) -> Table:
    """Return the table with one row per boundary."""
    found = average.average
    rows = []
    for i, boundary in enumerate(average.boundaries):
        low, high = float(found.low[i]), float(found.high[i])
        shown = f"{found.value[i]:+.3f}"
        if math.isfinite(low):
            shown += f" [{low:+.3f}, {high:+.3f}]"
        of_seeds = [differences[i] for differences in average.differences]
        rows.append(
            (
                text_cell(str(boundary)),
                Cell((shown,), tone=_tone(average, i)),
                Cell((f"{found.deviation[i]:.3f}",)),
                Cell((f"{min(of_seeds):+.3f} to {max(of_seeds):+.3f}",)),
            )
        )
    metric = average.metric.removesuffix(",none")
    return Table(
        f"{average.task}, {metric}: boundary minus whole adapter, over {len(average.sweeps)} "
        f"adapters and {average.documents} documents",
        (
            text_cell("boundary"),
            Cell(("mean", "over seeds")),
            Cell(("deviation", "over seeds")),
            Cell(("single", "seeds")),
        ),
        tuple(rows),
    )


def seed_sentence(average: SeedAverage) -> str:
    """Say which boundaries differ from the whole adapter on average."""
    tones = {b: _tone(average, i) for i, b in enumerate(average.boundaries)}
    by_tone = {tone: [b for b, own in tones.items() if own == tone] for tone in ("better", "worse")}
    shown = [
        f"{tone} at {format_ranges(boundaries)}"
        for tone, boundaries in by_tone.items()
        if boundaries
    ]
    outcome = (
        "is shown to be " + " and ".join(shown) if shown else "is not shown to differ anywhere"
    )
    return (
        f"{average.task}: on average over {len(average.sweeps)} adapters that differ in training "
        f"(seeds), and on {average.documents} common documents, the value of a boundary {outcome}, "
        "compared with the whole adapter."
    )


def seed_legend() -> Iterator[str]:
    """Yield the meaning of the table."""
    yield (
        "over seeds: sweeps that differ in nothing but the adapter count as training seeds of one "
        "recipe; [ ]: 95 % interval of the mean over other seeds and other documents, for one "
        "boundary at a time"
    )


def seed_warnings(average: SeedAverage) -> Iterator[str]:
    """Warn about few seeds."""
    seeds = len(average.sweeps)
    if seeds < _FEW_SEEDS:
        yield (
            f"{average.task}: intervals over only {seeds} seeds are rough, because {seeds} values "
            "say little about how much others differ"
        )


def seed_records(average: SeedAverage) -> Iterator[dict[str, Any]]:
    """Yield all numbers, one mapping per boundary."""
    found = average.average
    for i, boundary in enumerate(average.boundaries):
        yield {
            "task": average.task,
            "metric": average.metric,
            "boundary": boundary,
            "seeds": len(average.sweeps),
            "documents": average.documents,
            "difference": float(found.value[i]),
            "low": _finite(found.low[i]),
            "high": _finite(found.high[i]),
            "deviation": float(found.deviation[i]),
            "differences": [differences[i] for differences in average.differences],
            "sweeps": list(average.sweeps),
        }


def format_ranges(boundaries: Iterable[int]) -> str:
    """Return sorted integers as text, such as ``-1, 3 to 5, 9``."""
    ranges: list[list[int]] = []
    for boundary in boundaries:
        if ranges and boundary == ranges[-1][-1] + 1:
            ranges[-1].append(boundary)
        else:
            ranges.append([boundary])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in ranges)


def _tone(average: SeedAverage, i: int) -> str:
    """Return whether a boundary is ``better`` or ``worse``; empty if its interval includes 0."""
    low, high = float(average.average.low[i]), float(average.average.high[i])
    if not math.isfinite(low) or low <= 0 <= high:
        return ""
    return "better" if (low > 0) == average.higher_is_better else "worse"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
