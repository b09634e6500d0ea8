"""Score the best boundary on the test split, which was not used to choose it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import CONFIRMED, file_name
from ..harness.evaluation import Evaluation
from ..harness.sweep_lm import SweepLM
from ..harness.tasks import LoadedTasks
from .candidates import usable
from .output_folder import remove_others
from .scheduler import Scheduler
from .scores import score
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

    Returns:
        The summaries, with these scores for tasks on which a boundary was chosen on another
        split, if they have a test split.
    """
    full = lm.layers - 1
    tested = {}
    for name in tasks.to_confirm if settings.confirm else ():
        if summaries[name]["not_chosen"]:
            logger.info("%s: nothing was chosen, so there is no test run", name)
            continue
        boundaries = usable(lm, {-1, summaries[name]["best"], full})
        logger.info("%s: boundaries %s on the test split", name, ", ".join(map(str, boundaries)))
        evaluation = Evaluation(lm, tasks.on_test_split(name), settings)
        folder = output / CONFIRMED / file_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        scored = score(evaluation, scheduler, boundaries, folder, summaries[name]["metric"])
        remove_others(folder, boundaries)
        tested[name] = confirmed(summaries[name], scored.tasks[name], full)
    return {**summaries, **tested}
