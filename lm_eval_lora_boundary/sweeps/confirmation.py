"""Score what was chosen on documents that it was not chosen by."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import AdapterError
from ..files import CONFIRMED, file_name
from ..harness.evaluation import Evaluation
from ..harness.sweep_lm import SweepLM
from ..harness.tasks import LoadedTasks
from .output_folder import remove_others
from .scheduler import Scheduler
from .scores import score, scores
from .settings import SweepSettings
from .summary import confirmed

logger = logging.getLogger("lm_eval.lora_boundary")


def confirm(
    lm: SweepLM,
    tasks: LoadedTasks,
    settings: SweepSettings,
    scheduler: Scheduler,
    output: Path,
    summaries: Mapping[str, dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Evaluate each task's best boundary, the whole adapter and the base model on the test split.

    Args:
        lm: The model.
        tasks: The tasks of the sweep.
        settings: The sweep.
        scheduler: Answers the requests.
        output: Folder of the sweep.
        summaries: What was found about each task.

    Returns:
        The same with what they scored, for tasks that were chosen by on another split and have a
        test split.
    """
    found = dict(summaries)
    full = lm.layers - 1
    for name in tasks.to_confirm:
        boundaries = usable(lm, sorted({-1, summaries[name]["best"], full}))
        logger.info("%s: boundaries %s on the test split", name, ", ".join(map(str, boundaries)))
        evaluation = Evaluation(lm, tasks.on_test_split(name), settings)
        folder = output / CONFIRMED / file_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        scored = score(evaluation, scheduler, boundaries, folder, summaries[name]["metric"])
        remove_others(folder, boundaries)
        found[name] = confirmed(
            summaries[name],
            scored.measured[name],
            scores(evaluation.tasks.tasks[name], scored.metrics[name], scored.measured[name]),
            full,
        )
    return found


def usable(lm: SweepLM, boundaries: list[int]) -> list[int]:
    """Leave out the base model if the tokenizer has tokens that only the adapter has rows for."""
    try:
        lm.check(boundaries)
    except AdapterError as error:
        logger.info("the base model is left out: %s", error)
        return [boundary for boundary in boundaries if boundary >= 0]
    return boundaries
