"""Drop cuts that have statistically lost before all documents are answered."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from lm_eval.api.task import Task

from ..cuts.keep import Cut
from ..errors import TaskError
from ..harness.evaluation import Evaluation
from ..stats.race import Dropped, Race
from ..stats.scores import Name
from ..upstream.lm_eval import sample_size
from .metric import Metric, choose_metric
from .scheduler import Scheduler
from .scores import measure
from .settings import SweepSettings

logger = logging.getLogger("lm_eval.lora_boundary")


def run_race(
    evaluation: Evaluation,
    scheduler: Scheduler,
    cuts: Sequence[Cut],
    settings: SweepSettings,
    references: Sequence[Name],
) -> Race | None:
    """Evaluate cuts on more and more documents and drop those that have lost.

    The ``references`` are evaluated in full even if they are dropped, on the same documents as the
    rest, so that they share forward passes. Every round asks for its new documents only: an engine
    answers whole batches, earlier documents in them included.

    Returns:
        The race, after which its :func:`finalists` are answered on all documents; None if the
        metric cannot be raced.

    Raises:
        TaskError: There is more than one task.
    """
    if len(evaluation.tasks.tasks) != 1:
        names = ", ".join(evaluation.tasks.tasks)
        raise TaskError(f"--race takes one task, and {names} were given; race them one by one")
    ((name, task),) = evaluation.tasks.tasks.items()
    # any document tells the metric
    results = evaluation.at(cuts[0], scheduler.at(cuts[0], cuts[:1]), {name: [0]})
    metric = choose_metric(task, results, settings.metric_name)
    if not metric.mean:
        logger.warning(
            "%s is not a mean over documents, so cuts cannot race on it; all of them run in full",
            metric.key,
        )
        return None
    by_name = {cut.name: cut for cut in cuts}
    race = Race(
        list(by_name),
        documents_of(task, settings),
        error_rate=settings.error_rate,
        higher_is_better=metric.higher_is_better,
    )
    values: dict[Name, list[float]] = {cut: [] for cut in by_name}
    exact, seen = True, 0
    for documents in race.rounds:
        running = finalists(race, cuts, references)
        new = _values(evaluation, scheduler, name, metric, running, race.order[seen:documents])
        for cut, column in new.items():
            values[cut] += column
        seen = documents
        live = {cut: values[cut] for cut in race.live}
        if not np.isfinite(list(live.values())).all():
            logger.warning("%s is missing for some documents; all cuts run in full", metric.key)
            return None
        exact &= all(0 <= value <= 1 for column in live.values() for value in column)
        for out in race.update(live):
            logger.info(
                "%s is out after %d documents: %+.4f to %s",
                *(by_name[out.cut], out.documents, out.difference, by_name[out.leader]),
            )
        if race.done:
            break
    in_full = finalists(race, cuts, references)
    if seen < len(race.order):  # only one cut is left
        _values(evaluation, scheduler, name, metric, in_full, race.order[seen:])
    if not exact:
        logger.warning(
            "%s is not between 0 and 1: the error rate of the race is nominal, not exact",
            metric.key,
        )
    spent, exhaustive = evaluations(race, references), _exhaustive(race)
    logger.info(
        "%d of %d cuts run in full; %d evaluations instead of %d (%.1f times fewer)",
        *(len(in_full), len(cuts), spent, exhaustive, exhaustive / spent),
    )
    return race


def documents_of(task: Task, settings: SweepSettings) -> int:
    """Return how many documents a sweep without a race would use."""
    total = len(task.eval_docs)
    limit = sample_size(task, settings.documents)
    return total if limit is None else min(total, int(limit))


def _values(
    evaluation: Evaluation,
    scheduler: Scheduler,
    name: str,
    metric: Metric,
    cuts: Sequence[Cut],
    documents: Sequence[int],
) -> dict[Name, list[float]]:
    """Return the metric under each cut on each of some documents; NaN where it is missing."""
    # lm-eval numbers documents in ascending order, however they are asked for
    samples = {name: sorted(documents)}
    values: dict[Name, list[float]] = {}
    for cut in cuts:
        results = evaluation.at(cut, scheduler.at(cut, cuts), samples)
        items = measure(name, metric, cut, results).items
        values[cut.name] = [float(items.get(document, math.nan)) for document in documents]
    return values


def finalists(race: Race, cuts: Sequence[Cut], references: Sequence[Name]) -> list[Cut]:
    """Return the cuts to evaluate in full: what stayed in the race, and the references."""
    return [cut for cut in cuts if cut.name in race.live or cut.name in references]


def evaluations(race: Race, references: Sequence[Name]) -> int:
    """Return how many evaluations of one document under one cut there are in all."""
    seen = [out.documents for out in race.dropped if out.cut not in references]
    in_full = len(race.live) + len(race.dropped) - len(seen)
    return sum(seen) + in_full * race.rounds[-1]


def _exhaustive(race: Race) -> int:
    """Return how many evaluations a sweep without a race would take."""
    return (len(race.dropped) + len(race.live)) * race.rounds[-1]


def race_summary(race: Race, settings: SweepSettings, references: Sequence[Name]) -> dict[str, Any]:
    """Return what ``sweep.json`` says about a race."""
    spent, exhaustive = evaluations(race, references), _exhaustive(race)
    return {
        "error_rate": settings.error_rate,
        "documents": race.rounds[-1],
        "evaluations": spent,
        "exhaustive": exhaustive,
        "saved": exhaustive / spent,
        "dropped": [_as_json(out) for out in race.dropped],
        "note": "intervals of cuts that stayed, of the whole adapter and of the base model "
        "are over all documents; other cuts that were dropped have none, and which of them "
        "stayed was decided on the same documents; optimism is null, since what cuts that "
        "were dropped score on other draws of the documents is not known; a cut that was dropped "
        "ends the search for the smallest cut that keeps the gain; the error rate is exact for "
        "metrics within 0 and 1, nominal for others",
    }


def _as_json(out: Dropped) -> dict[str, Any]:
    """Return a dropped cut, under ``boundary`` or ``cut`` as in the rows of a task."""
    facts = dict(vars(out))
    name = facts.pop("cut")
    return {"boundary" if isinstance(name, int) else "cut": name} | facts
