"""Write lm-eval's own results and samples files, one folder per cut."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from lm_eval.loggers import EvaluationTracker

from ..cuts.keep import Cut
from ..errors import OutputError
from ..files import cut_folder
from .settings import EvaluationSettings


def write_results(
    output: Path,
    cut: Cut,
    results: dict[str, Any],
    settings: EvaluationSettings,
    chat_template: str | None,
) -> None:
    """Write what ``lm_eval --output_path --log_samples`` would write, in place of earlier files.

    Args:
        output: Folder of the sweep.
        cut: The cut.
        results: What ``simple_evaluate`` returned. The samples are removed from it.
        settings: The model and the prompts.
        chat_template: The chat template that was used, if one was.

    Raises:
        OutputError: The files cannot be written. Earlier files are left as they were.
    """
    samples = results.pop("samples")
    if settings.no_texts:
        for sample in (sample for some in samples.values() for sample in some):
            sample |= {"doc": {}, "target": "", "arguments": [], "resps": [], "filtered_resps": []}
    asked = {"keep": cut.notation} if cut.boundary is None else {"boundary": cut.boundary}
    model_args = settings.model_arguments() | asked
    results["config"] |= {"model": settings.model, "model_args": model_args}
    folder = cut_folder(output, cut.name)
    try:
        with tempfile.TemporaryDirectory(
            dir=output, prefix=".writing-", ignore_cleanup_errors=True
        ) as temporary:
            tracker = EvaluationTracker(output_path=temporary)
            tracker.general_config_tracker.log_experiment_args(
                model_source=settings.model,
                model_args=model_args,
                system_instruction=settings.system_instruction,
                chat_template=chat_template,
                fewshot_as_multiturn=settings.multiturn,
            )
            tracker.general_config_tracker.model_name_sanitized = "results"
            tracker.save_results_aggregated(results=results, samples=samples)
            for task, its_samples in samples.items():
                tracker.save_results_samples(task_name=task, samples=its_samples)
            # lm-eval only logs what it fails to write.
            new = Path(temporary) / "results"
            lines = sum(file.read_bytes().count(b"\n") for file in new.glob("*.jsonl"))
            complete = lines == sum(map(len, samples.values()))
            if not complete or len(list(new.glob("*.json*"))) != 1 + len(samples):
                raise OutputError(
                    f"{folder}: the results cannot be written; make room or choose another "
                    "--output, then run the same command again"
                )
            if folder.exists():
                folder.rename(Path(temporary) / "old")
            new.rename(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
