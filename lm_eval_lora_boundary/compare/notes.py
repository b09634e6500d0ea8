"""What a leaderboard says in words: its sentences and its legend."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from .measure import Column, Measured

_MOST_SENTENCES = 12
_LEVEL = 0.05


def decimals(column: Sequence[Measured | None]) -> int:
    """Return how many decimals the values of a column are shown with."""
    values = [abs(m.value) for m in column if m is not None and math.isfinite(m.value)]
    largest = max(values, default=0)
    return 3 if largest <= 10 else 2 if largest < 1000 else 0


def signed(value: float, places: int) -> str:
    """Return a difference with its sign."""
    return f"{value:+.{places}f}"


def signed_interval(measured: Measured, places: int) -> str:
    """Return the interval of a difference after a space; empty if there is none."""
    low, high = measured.difference_low, measured.difference_high
    if low is None or high is None:
        return ""
    return f" [{low:+.{places}f}, {high:+.{places}f}]"


def table_sentences(
    columns: Sequence[Column],
    measured: Sequence[Sequence[Measured | None]],
    names: Sequence[str],
    baseline: int | None,
) -> Iterator[str]:
    """Yield a sentence per task if two models are compared.

    Of many tasks, only the groups get one, and all tasks together.
    """
    if baseline is None or len(names) != 2:
        return
    other = 1 - baseline
    tested = [
        (column, values[other], decimals(values))
        for column, values in zip(columns, measured, strict=True)
    ]
    found = [(c, m, places) for c, m, places in tested if m is not None and m.p_value is not None]
    many = len(found) > _MOST_SENTENCES
    for column, m, places in found:
        if many and "stratified" not in m.test:
            continue
        lower = " (lower is better)" if column.direction is False else ""
        documents = "document" if m.common_documents == 1 else "documents"
        shown = signed(m.difference or 0.0, places) + signed_interval(m, places)
        yield (
            f"{column.task}, {column.key.removesuffix(',none')}{lower}: {names[other]} scores "
            f"{shown} against {names[baseline]} on {m.common_documents} common {documents} "
            f"(p = {m.p_value:.2g}, {m.test})."
        )
    if many:
        yield _all_together(found, names[other])


def _all_together(found: Sequence[tuple[Column, Measured, int]], name: str) -> str:
    """Say on how many tasks a model differs."""
    tasks = [(column, m) for column, m, _ in found if "stratified" not in m.test]
    differing = [(column, m) for column, m in tasks if (m.p_value or 0) < _LEVEL]
    up = sum((m.difference or 0) > 0 for _, m in differing)
    return (
        f"Of {len(tasks)} tasks and metrics, each tested alone, {name} scores higher on {up} and "
        f"lower on {len(differing) - up} with p < 0.05; about {len(tasks) * _LEVEL:.0f} such "
        "results are expected if there is no difference anywhere."
    )


def legend(
    baseline: str | None, columns: Sequence[Sequence[Measured | None]], *, chosen: bool
) -> Iterator[str]:
    """Yield the meaning of the signs that a table uses."""
    measured = [m for column in columns for m in column if m is not None]
    yield "bold: best value in the column; ↑ higher is better, ↓ lower is better"
    intervals = {m.interval for m in measured}
    methods = [method for method in ("Wilson", "bootstrap") if method in intervals]
    where = " where documents are right or wrong, bootstrap elsewhere" * (len(methods) > 1)
    if methods:
        yield f"[ ]: 95 % interval of the value ({methods[0]}{where}), of each model alone"
    if "standard error" in intervals:
        yield (
            "±: half the width of the 95 % interval, from lm-eval's standard error (no samples, or "
            "a group)"
        )
    if baseline is None:
        yield "use --baseline for paired differences and tests"
    elif any(m.difference is not None for m in measured):
        yield from _differences(baseline, columns, measured, chosen=chosen)


def clusters_legend(columns: Sequence[Column]) -> Iterator[str]:
    """Yield which documents belong together, by the field that says so."""
    tasks: dict[str, list[str]] = {}
    for column in columns:
        if column.cluster is not None and column.task not in tasks.get(column.cluster, ()):
            tasks.setdefault(column.cluster, []).append(column.task)
    for field, names in tasks.items():
        yield (
            f"documents of {', '.join(names)} with the same {field} belong together, and are drawn "
            "and swapped together"
        )


def _differences(
    baseline: str,
    columns: Sequence[Sequence[Measured | None]],
    measured: Sequence[Measured],
    *,
    chosen: bool,
) -> Iterator[str]:
    """Yield the meaning of the second lines."""
    tests = {m.test for m in measured if m.test}
    tested = [[m for m in column if m is not None and m.test] for column in columns]
    several = max(map(len, tested)) > 1
    line = f"second line: difference from {baseline} on the documents that both answered"
    if tests:
        line += f", with its 95 % interval; † p < 0.05, ‡ p < 0.01 ({_test_names(tests)})"
        line += " after Holm's correction for the number of models in the column" * several
    yield line
    if not chosen:
        yield f"{baseline} is the baseline because it comes first; use --baseline for another"
    if any(m.partly_compared for m in measured):
        yield (
            "(n documents): the difference is on these n, so it need not be the difference of the "
            "values, which are lm-eval's own on all documents of a run"
        )
    if several:
        yield (
            "intervals of differences are for one comparison at a time, not corrected for their "
            "number, so one may leave out 0 without a †"
        )
    if sum(map(bool, tested)) > 1:
        yield "nothing is corrected for the number of tasks and metrics"


def _test_names(used: set[str]) -> str:
    """Say which tests were used, and where."""
    meaning = {
        "McNemar": "McNemar where documents are right or wrong",
        "randomisation": "randomisation for other metrics",
        "stratified randomisation": "randomisation within each task for groups",
    }
    return ", ".join(text for name, text in meaning.items() if name in used)
