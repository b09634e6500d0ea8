"""``compare()`` for Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import OutputError
from .comparison import Comparison
from .leaderboard import leaderboard
from .locate import Source, locate
from .runs import Run, merged, newest
from .stability import stability
from .sweeps import read_sweep, representatives


def compare(
    results: Sequence[str | Path],
    *,
    baseline: str | Path | None = None,
    metrics: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> Comparison:
    """Compare results of lm-eval, of any model, or sweeps.

    At least two sweeps and nothing else: how far the best boundary moves between them. Anything
    else: models × tasks, where a sweep stands for its base model, its tasks' best boundaries and
    the whole adapter.

    >>> from lm_eval_lora_boundary.compare import compare  # doctest: +SKIP
    >>> print(compare(["out/a", "out/b"], baseline="out/a").to_markdown())  # doctest: +SKIP

    Args:
        results: Results files, folders that hold them, or folders of sweeps.
        baseline: What to compare each model with, document by document: a path that stands for
            one model. Need not be among the results.
        metrics: ``metric`` or ``metric,filter``, of all tasks that have it. Default: the first
            metric of each task.
        tasks: Names of tasks or groups, ``*`` for any text. Default: all.

    Raises:
        OutputError: Something that was given is missing or damaged.
        TaskError: No such task or metric, or the documents of two models differ.
    """
    if not results:
        raise OutputError("nothing to compare; expected results of lm-eval, or sweeps")
    # the same folder given twice is one
    sources = list(
        {source.path.resolve(): source for r in results for source in locate(r)}.values()
    )
    if baseline is None and len(sources) > 1 and all(source.sweep for source in sources):
        return stability([read_sweep(source.path) for source in sources], metrics, tasks)
    warnings: list[str] = []
    runs = [run for source in sources for run in _runs(source, warnings)]
    row: int | None = None
    if baseline is not None:
        reference = [run for source in locate(baseline) for run in _runs(source, [])]
        known = {file.resolve() for run in runs for file in run.files}
        if not all(file.resolve() in known for run in reference for file in run.files):
            runs = reference + runs
    rows = merged(runs)
    if baseline is not None:
        row = _row(baseline, reference, rows)
    return leaderboard(rows, row, metrics, tasks, warnings)


def _runs(source: Source, warnings: list[str]) -> list[Run]:
    """Return the models of a source; add what there is to say about them."""
    found, lines = (
        representatives(read_sweep(source.path)) if source.sweep else newest(source.files)
    )
    warnings += lines
    return found


def _row(baseline: str | Path, reference: Sequence[Run], rows: Sequence[Run]) -> int:
    """Return the row that a baseline stands for."""
    files = {file.resolve() for run in reference for file in run.files}
    found = [i for i, row in enumerate(rows) if files & {file.resolve() for file in row.files}]
    if len(found) != 1:
        names = "; ".join(str(rows[i].files[0].parent) for i in found)
        raise OutputError(
            f"baseline={baseline} stands for {len(found)} models, expected one of: {names}"
        )
    return found[0]
