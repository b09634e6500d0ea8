"""The paired difference of a group of tasks, from the samples of its tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import TaskError
from .columns import tasks_of_group
from .paired_difference import NotTestableError, PairedDifference, finite
from .pairing import Entry, Pair, check_comparable, pair, pair_warnings
from .scored import Evidence, together, units
from .stratified import Stratum, seconds, stratified_difference

METHOD = "stratified randomisation"
_TIME_BUDGET = 60.0  # seconds


@dataclass(frozen=True)
class GroupMean:
    """How a group's value is the mean of its tasks' values.

    Attributes:
        tasks: The tasks that have the metric.
        by_size: Whether it could be the mean weighted by the number of documents.
        unweighted: Whether it could be the plain mean.
    """

    tasks: tuple[str, ...]
    by_size: bool
    unweighted: bool


def group_difference(
    group: str, key: str, entry: Entry, reference: Entry, evidence: Evidence
) -> tuple[PairedDifference, list[str]]:
    """Compare two runs on a group, document by document in each of its tasks.

    Returns:
        The difference, and warnings about the documents.

    Raises:
        NotTestableError: The group's value is not a mean of its tasks' values, the runs have other
            tasks in the group, or one of these cannot be paired.
        OutputError: A samples file is damaged.
    """
    ours, theirs = (group_mean(group, key, each) for each in (entry, reference))
    if ours.tasks != theirs.tasks:
        raise NotTestableError("the runs have different tasks in the group")
    by_size = ours.by_size and theirs.by_size
    if not by_size and not (ours.unweighted and theirs.unweighted):
        raise NotTestableError("its value is not the mean of its tasks' values, weighted or not")
    pairs, warnings = _pairs(ours.tasks, key, entry, reference, evidence)
    sizes = [len(paired.documents) if by_size else 1 for paired in pairs]
    strata = [
        _stratum(task, paired, size / sum(sizes))
        for task, paired, size in zip(ours.tasks, pairs, sizes, strict=True)
    ]
    if seconds(strata) > _TIME_BUDGET:
        raise NotTestableError("the aggregation function of the metric is too slow")
    found = stratified_difference(strata)
    if not math.isfinite(found.value):
        raise NotTestableError("the metric is undefined on some samples of the documents")
    number = sum(len(paired.documents) for paired in pairs)
    low, high = finite(found.low), finite(found.high)
    return PairedDifference(number, found.value, low, high, found.p_value, METHOD), warnings


def group_mean(group: str, key: str, entry: Entry) -> GroupMean:
    """Find out how lm-eval averaged the tasks of a group, which its results do not say."""
    run = entry.run
    members = dict.fromkeys(tasks_of_group(group, run.subtasks))
    tasks = [
        task
        for task in members
        if task in run.tasks and not run.tasks[task].group and key in run.tasks[task].values
    ]
    results = [run.tasks[task] for task in tasks]
    values = [result.values[key] for result in results]
    reported = entry.result.values[key]
    sizes = [result.documents or 0 for result in results]
    return GroupMean(
        tuple(sorted(tasks)),
        by_size=all(sizes) and _is_mean(reported, values, sizes),
        unweighted=_is_mean(reported, values, [1] * len(values)),
    )


def _is_mean(reported: float, values: Sequence[float], weights: Sequence[int]) -> bool:
    if not values:
        return False
    products = (value * weight for value, weight in zip(values, weights, strict=True))
    # the order of summation changes rounding only
    return math.isclose(reported, sum(products) / sum(weights), rel_tol=1e-9, abs_tol=1e-12)


def _pairs(
    tasks: Sequence[str], key: str, entry: Entry, reference: Entry, evidence: Evidence
) -> tuple[list[Pair], list[str]]:
    """Pair the documents of every task."""
    pairs, warnings = [], []
    for task in tasks:
        ours, theirs = (
            Entry(each.label, each.run, each.run.tasks[task]) for each in (entry, reference)
        )
        try:
            warnings += check_comparable(task, ours, theirs)
            pairs.append(pair(task, key, ours, theirs, evidence))
        except TaskError as error:
            raise NotTestableError(str(error)) from error
        warnings += pair_warnings(task, ours, theirs, pairs[-1])
    return pairs, warnings


def _stratum(task: str, paired: Pair, weight: float) -> Stratum:
    runs = [paired.ours, paired.theirs]
    if len(paired.documents) < 2:
        raise NotTestableError(f"{task} has fewer than 2 common documents")
    statistic = together(runs, paired.documents)
    if statistic is None:
        raise NotTestableError(f"the samples of {task} do not reproduce its value")
    drawn = units(runs, paired.documents)
    if drawn.count < 2:
        raise NotTestableError(f"all common documents of {task} have the same {paired.cluster}")
    columns = [run.select(paired.documents) for run in runs]
    differ = [float(a != b) for a, b in zip(*columns, strict=True)]
    differing = int(np.count_nonzero(drawn.means(np.array(differ)[:, None])))
    return Stratum(statistic, drawn, weight, differing)
