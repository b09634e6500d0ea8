"""Score the best cut on the test split, which was not used to choose it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..cuts.keep import as_cut
from ..files import CONFIRMED, file_name
from ..harness.evaluation import Evaluation
from ..harness.sweep_lm import SweepLM
from ..harness.tasks import LoadedTasks
from .cuts_to_score import usable
from .decision import to_test
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
    """Evaluate what may be recommended on the test split, and the two ends to compare it with.

    These are the best cut, the best boundary, and a few of the cuts that keep the gain.

    Returns:
        The summaries, with these scores for tasks on which a cut was chosen on another
        split, if they have a test split.
    """
    full = lm.layers - 1
    tested = {}
    for name in tasks.to_confirm if settings.confirm else ():
        if summaries[name]["not_chosen"]:
            logger.info("%s: nothing was chosen, so there is no test run", name)
            continue
        summary = summaries[name]
        chosen = [summary["best"], summary["best_boundary"], *to_test(summary["keeping"]["cuts"])]
        cuts = usable(
            lm, {as_cut(each, lm.layers) for each in (-1, *chosen, full) if each is not None}
        )
        logger.info("%s: %s on the test split", name, ", ".join(map(str, cuts)))
        evaluation = Evaluation(lm, tasks.on_test_split(name), settings)
        folder = output / CONFIRMED / file_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        scored = score(evaluation, scheduler, cuts, folder, summaries[name]["metric"])
        remove_others(folder, cuts)
        field = tasks.clusters.get(name)
        tested[name] = confirmed(summaries[name], scored.tasks[name], full, field)
    return {**summaries, **tested}
