"""lm-eval's own results and samples files, one folder per boundary."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lm_eval.loggers import EvaluationTracker

from ..errors import OutputError
from ..files import boundary_folder, file_name

CONFIRMED = "test"  # folder of what was scored on documents that it was not chosen by


def clean_up(output: Path) -> None:
    """Remove what a killed process was writing."""
    for folder in output.glob(".writing-*"):
        shutil.rmtree(folder, ignore_errors=True)


def remove_others(output: Path, boundaries: Iterable[int]) -> None:
    """Remove what another adapter, or another choice of boundaries, left in a folder.

    Args:
        output: The folder.
        boundaries: Those whose folders were written now.
    """
    kept = {boundary_folder(output, boundary) for boundary in boundaries}
    for other in set(output.glob("boundary=*")) - kept:
        shutil.rmtree(other, ignore_errors=True)


def remove_other_confirmations(output: Path, tasks: Iterable[str]) -> None:
    """Remove what was scored on the test split in a folder before.

    Args:
        output: The folder of the sweep.
        tasks: Those that were scored there now.
    """
    kept = {output / CONFIRMED / file_name(task) for task in tasks}
    for other in set((output / CONFIRMED).glob("*")) - kept:
        shutil.rmtree(other, ignore_errors=True)
    if not kept:
        shutil.rmtree(output / CONFIRMED, ignore_errors=True)


def write_results(
    output: Path,
    boundary: int,
    results: dict[str, Any],
    model: str,
    model_args: dict[str, Any],
    **chat: Any,
) -> None:
    """Write what ``lm_eval --output_path --log_samples`` would, and replace what was there.

    Args:
        output: Folder of the sweep.
        boundary: The boundary.
        results: What ``simple_evaluate`` returned; loses its samples.
        model: ``--model`` of a separate run.
        model_args: Its ``--model_args``.
        **chat: ``system_instruction``, ``chat_template`` and ``fewshot_as_multiturn``.

    Raises:
        OutputError: The files cannot be written; what was there before still is.
    """
    samples = results.pop("samples")
    results["config"] |= {"model": model, "model_args": model_args}
    folder = boundary_folder(output, boundary)
    try:
        with tempfile.TemporaryDirectory(dir=output, prefix=".writing-") as temporary:
            tracker = EvaluationTracker(output_path=temporary)
            tracker.general_config_tracker.log_experiment_args(
                model_source=model, model_args=model_args, **chat
            )
            tracker.general_config_tracker.model_name_sanitized = "results"
            tracker.save_results_aggregated(results=results, samples=samples)
            for task, its_samples in samples.items():
                tracker.save_results_samples(task_name=task, samples=its_samples)
            # lm-eval only logs what it fails to write
            written = list(Path(temporary).glob("results/*.json*"))
            lines = sum(
                file.read_bytes().count(b"\n") for file in written if file.suffix == ".jsonl"
            )
            expected = sum(map(len, samples.values()))
            if len(written) != 1 + len(samples) or lines != expected:
                raise OutputError(
                    f"{folder}: the results cannot be written; make room or choose another "
                    "--output, then run the same command again"
                )
            _replace(folder, written[0].parent, Path(temporary) / "old")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error


def _replace(folder: Path, new: Path, old: Path) -> None:
    """Put a new folder in the place of what was there."""
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
