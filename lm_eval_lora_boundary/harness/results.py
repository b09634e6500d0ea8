"""lm-eval's own results and samples files, one folder per boundary."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from lm_eval.loggers import EvaluationTracker

from ..errors import OutputError
from ..files import boundary_folder


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
