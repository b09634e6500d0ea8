"""``compare()``, the Python interface."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import OutputError
from .comparison import Comparison
from .leaderboard import leaderboard
from .locate import Source, locate
from .runs import Run, merge_runs, newest_runs
from .stability import stability
from .sweeps import read_sweep, representatives


def compare(
    results: Sequence[str | Path],
    *,
    baseline: str | Path | None = None,
    metrics: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> Comparison:
    """Compare lm-eval results of any model, or sweeps.

    Two or more sweeps on their own show how far the best boundary moves between them, and what
    cuts are worth on average over training seeds. Anything else gives a leaderboard of models and
    tasks. There, a sweep contributes the base model, the best boundary of each task and the whole
    adapter.

    >>> from lm_eval_lora_boundary.compare import compare  # doctest: +SKIP
    >>> print(compare(["out/a", "out/b"], baseline="out/a").to_markdown())  # doctest: +SKIP

    Args:
        results: Results files, folders that contain them, or sweep folders.
        baseline: The model to compare with, document by document: a path that holds the results
            of one model. It need not be among ``results``. Default: the first of exactly two
            models, else none.
        metrics: ``metric`` or ``metric,filter``, shown for every task that has it. Default: the
            first metric of each task.
        tasks: Names of tasks or groups; ``*`` matches any text. Default: all.

    Raises:
        OutputError: A path or file is missing or damaged.
        TaskError: The task or metric is unknown, or no model can be paired with ``baseline``.
    """
    if not results:
        raise OutputError("nothing to compare; give lm-eval results or sweep folders")
    # a folder that is given twice counts once
    sources = list(
        {source.path.resolve(): source for path in results for source in locate(path)}.values()
    )
    if baseline is None and len(sources) > 1 and all(source.sweep for source in sources):
        return stability([read_sweep(source.path) for source in sources], metrics, tasks)
    contents = [_read(source) for source in sources]
    runs = [run for source_runs, _ in contents for run in source_runs]
    warnings = [line for _, lines in contents for line in lines]
    if baseline is None:
        rows = merge_runs(runs)
        first = 0 if len(rows) == 2 else None
        return leaderboard(rows, first, metrics, tasks, warnings, chosen=False)
    baseline_runs = [run for source in locate(baseline) for run in _read(source)[0]]
    baseline_files = {file for run in baseline_runs for file in run.resolved_files}
    if not baseline_files <= {file for run in runs for file in run.resolved_files}:
        runs = baseline_runs + runs
    rows = merge_runs(runs)
    return leaderboard(rows, _row(baseline, baseline_files, rows), metrics, tasks, warnings)


def _read(source: Source) -> tuple[list[Run], list[str]]:
    """Return the models of a source, and warnings about them."""
    runs, warnings = (
        representatives(read_sweep(source.path)) if source.sweep else newest_runs(source.files)
    )
    return [run.by_own_names() for run in runs], warnings


def _row(baseline: str | Path, files: set[Path], rows: Sequence[Run]) -> int:
    """Return the index of the only row with results from the baseline's files."""
    indices = [i for i, row in enumerate(rows) if files & row.resolved_files]
    if len(indices) != 1:
        folders = "; ".join(str(rows[i].files[0].parent) for i in indices)
        raise OutputError(
            f"baseline={baseline} holds the results of {len(indices)} models; expected one of: "
            f"{folders}"
        )
    return indices[0]
