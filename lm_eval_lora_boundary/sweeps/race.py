"""Drop boundaries that are statistically out before all documents are answered."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from lm_eval.evaluator_utils import get_sample_size

from ..errors import TaskError
from ..harness.evaluation import Evaluation
from ..stats.race import Race
from .scheduler import Scheduler
from .scores import choose_metric, measure
from .settings import SweepSettings

logger = logging.getLogger("lm_eval.lora_boundary")


def run_race(
    evaluation: Evaluation,
    scheduler: Scheduler,
    boundaries: Sequence[int],
    settings: SweepSettings,
    references: Sequence[int] = (),
) -> Race | None:
    """Evaluate boundaries on more and more documents and drop those that are out.

    Args:
        evaluation: What evaluates a boundary.
        scheduler: Answers the requests.
        boundaries: The boundaries.
        settings: The sweep.
        references: Those to evaluate in full even if they are dropped.

    Returns:
        The race, whose :func:`finalists` are to be evaluated in full; None if the metric cannot
        be raced.

    Raises:
        TaskError: There is more than one task.
    """
    if len(evaluation.tasks.tasks) != 1:
        names = ", ".join(evaluation.tasks.tasks)
        raise TaskError(f"--race takes one task, and {names} were given; race them one by one")
    ((name, task),) = evaluation.tasks.tasks.items()
    total = len(task.eval_docs)
    limit = get_sample_size(task, settings.documents)
    documents = total if limit is None else min(total, int(limit))
    race: Race | None = None
    exact = True
    for number in range(10_000):
        if race is None:  # any order tells the metric
            answers = scheduler.at(boundaries[0], boundaries)
            results = evaluation.at(boundaries[0], answers, {name: [0]})
            metric = choose_metric(task, results, settings.metric)
            if not metric.mean:
                logger.warning(
                    "%s is no mean over documents, so boundaries cannot race on it; all of them "
                    "run in full",
                    metric.key,
                )
                return None
            race = Race(
                boundaries,
                documents,
                error_rate=settings.error_rate,
                higher_is_better=metric.higher_is_better,
            )
        shown = race.order[: race.rounds[number]]
        # lm-eval numbers documents in their own order, whatever the order they are asked for in
        samples = {name: sorted(shown)}
        values = {}
        for boundary in race.live:
            answers = scheduler.at(boundary, race.live)
            results = evaluation.at(boundary, answers, samples)
            measured = measure(name, metric, boundary, results)
            values[boundary] = [float(measured.items.get(doc, math.nan)) for doc in shown]
        if not np.isfinite(list(values.values())).all():
            logger.warning("%s is missing for some documents; all boundaries run in full", name)
            return None
        exact = exact and 0 <= np.min(list(values.values())) <= np.max(list(values.values())) <= 1
        for out in race.update(values):
            logger.info(
                "boundary %d is out after %d documents: %+.4f to boundary %d",
                *(out.boundary, out.documents, out.difference, out.leader),
            )
        if race.done:
            break
    assert race is not None
    # the last boundary standing is still evaluated on all documents
    in_full = finalists(race, references)
    spent = evaluations(race, in_full)
    if not exact:
        logger.warning(
            "%s is not within 0 and 1: the error rate of the race is nominal, not exact", metric.key
        )
    logger.info(
        "%d of %d boundaries ran in full; %d evaluations instead of %d (%.1f times fewer)",
        *(len(in_full), len(boundaries), spent, len(boundaries) * documents),
        len(boundaries) * documents / spent,
    )
    return race


def finalists(race: Race, references: Sequence[int]) -> list[int]:
    """Return the boundaries to evaluate in full: what stayed, and what it is compared with.

    Args:
        race: The race.
        references: The boundaries to compare with, if they raced.
    """
    dropped = {out.boundary for out in race.dropped}
    return sorted({*race.live, *(dropped & set(references))})


def evaluations(race: Race, in_full: Sequence[int]) -> int:
    """Return how many evaluations of one document under one boundary there are in all."""
    seen = [out.documents for out in race.dropped if out.boundary not in in_full]
    return sum(seen) + len(in_full) * race.rounds[-1]


def race_summary(
    race: Race, settings: SweepSettings, references: Sequence[int] = ()
) -> dict[str, Any]:
    """Return what ``sweep.json`` says about a race."""
    documents = race.rounds[-1]
    spent = evaluations(race, finalists(race, references))
    exhaustive = (len(race.dropped) + len(race.live)) * documents
    return {
        "error_rate": settings.error_rate,
        "documents": documents,
        "evaluations": spent,
        "exhaustive": exhaustive,
        "saved": exhaustive / spent,
        "dropped": [vars(out) for out in race.dropped],
        "note": "intervals of boundaries that stayed, of the whole adapter and of the base model "
        "are over all documents; other boundaries that were dropped have none, and which of them "
        "stayed was decided on the same documents; optimism is null, since what boundaries that "
        "were dropped score on other draws of the documents is not known; "
        "smallest_equivalent leaves dropped boundaries out; the error rate is exact for metrics "
        "within 0 and 1, nominal for others",
    }
