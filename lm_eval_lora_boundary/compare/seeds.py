"""Sweeps of one recipe trained with several seeds: what each cut is worth on average."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .over_seeds import OverSeeds, over_seeds
from .runs import TaskResult
from .scored import Evidence, Scored, together, units
from .sweeps import Sweep

DRAWS = 2_000
_TIME_BUDGET = 60.0  # seconds
# the settings that decide what a value is; an adapter trained with another seed shares them
_RECIPE = (
    *("pretrained", "dtype", "model_args", "gen_kwargs", "num_fewshot", "apply_chat_template"),
    *("fewshot_as_multiturn", "system_instruction"),
)


@dataclass(frozen=True)
class SeedAverage:
    """What the cuts of one task are worth on average over adapters.

    Attributes:
        task: The task.
        metric: lm-eval's key of the metric, ``metric,filter``.
        higher_is_better: The direction of the metric.
        sweeps: Labels of the sweeps, one per seed.
        documents: Number of documents, the same ones for all.
        boundaries: The boundaries that all sweeps scored, without the whole adapter.
        differences: Each seed's differences from its whole adapter, shape (seeds, boundaries).
        average: Their means over seeds.
    """

    task: str
    metric: str
    higher_is_better: bool
    sweeps: tuple[str, ...]
    documents: int
    boundaries: tuple[int, ...]
    differences: tuple[tuple[float, ...], ...]
    average: OverSeeds


@dataclass(frozen=True)
class _Seed:
    """The results of one sweep on a task, by boundary."""

    label: str
    scored: Mapping[int, Scored]
    whole: int


def seed_averages(
    sweeps: Sequence[Sweep], labels: Sequence[str], tasks: Sequence[str]
) -> tuple[list[SeedAverage], list[str]]:
    """Average over sweeps that differ only in the adapter.

    Returns:
        An average for each task and recipe with several adapters, and warnings.

    Raises:
        OutputError: The results of a boundary are damaged.
    """
    averages, warnings = [], []
    for task in tasks:
        for seeds in _recipes(sweeps, labels, task):
            found = _average(task, seeds, sweeps, labels)
            if isinstance(found, str):
                warnings.append(f"{task}: no average over {', '.join(seeds)}: {found}")
            else:
                averages.append(found)
    return averages, warnings


def _recipes(sweeps: Sequence[Sweep], labels: Sequence[str], task: str) -> Iterator[list[str]]:
    """Yield the labels of sweeps of a task that differ only in the adapter, two or more."""
    recipes: dict[str, dict[str, str]] = {}
    for sweep, label in zip(sweeps, labels, strict=True):
        layers = sweep.layers()
        if task not in sweep.tasks or layers is None:
            continue
        entry = sweep.tasks[task]
        facts: list[Any] = [entry["metric"], entry.get("split"), layers]
        facts += [sweep.settings.get(name) for name in _RECIPE]
        adapters = recipes.setdefault(json.dumps(facts, sort_keys=True, default=str), {})
        # two sweeps of one adapter are not two seeds
        adapters.setdefault(_adapter(sweep, layers - 1), label)
    for adapters in recipes.values():
        if len(adapters) > 1:
            yield list(adapters.values())


def _adapter(sweep: Sweep, whole: int) -> str:
    """Return what identifies the adapter of a sweep: its hash, or else its place."""
    run = sweep.run(whole)
    digest = None if run is None else run.settings.get("adapter_sha256")
    return str(digest or sweep.settings.get("peft") or sweep.folder)


def _average(
    task: str, seeds: Sequence[str], sweeps: Sequence[Sweep], labels: Sequence[str]
) -> SeedAverage | str:
    """Return the average over some sweeps, or why there is none."""
    by_label = dict(zip(labels, sweeps, strict=True))
    loaded = []
    for label in seeds:
        found = _load(by_label[label], label, task)
        if found is None:
            return f"{label} has no samples of the whole adapter"
        loaded.append(found)
    documents = sorted(set.intersection(*(set(s.scored[s.whole].places) for s in loaded)))
    if len(documents) < 2:
        return "the sweeps have fewer than 2 documents in common"
    drawn_units = units([seed.scored[seed.whole] for seed in loaded], documents)
    if drawn_units.count < 2:
        return "all common documents belong together"
    boundaries = _boundaries(loaded)
    whole = loaded[0].whole
    statistics = [
        together([seed.scored[boundary] for boundary in (*boundaries, whole)], documents)
        for seed in loaded
    ]
    known = [statistic for statistic in statistics if statistic is not None]
    if len(known) < len(statistics):
        return "the samples do not reproduce the values"
    if not boundaries:
        return "no boundary but the whole adapter was scored in all of them"
    if sum(statistic.estimate_seconds(DRAWS) for statistic in known) > _TIME_BUDGET:
        return "the aggregation function of the metric is too slow"
    values = np.array([each.observed[:-1] - each.observed[-1] for each in known])
    drawn = []
    for counts in drawn_units.draws(DRAWS):
        draws = np.array([statistic.resample(counts) for statistic in known])
        drawn.append(draws[:, :, :-1] - draws[:, :, -1:])
    entry = by_label[seeds[0]].tasks[task]
    return SeedAverage(
        task=task,
        metric=entry["metric"],
        higher_is_better=entry.get("higher_is_better", True),
        sweeps=tuple(seeds),
        documents=len(documents),
        boundaries=boundaries,
        differences=tuple(map(tuple, values.tolist())),
        average=over_seeds(values, np.concatenate(drawn, axis=1), drawn_units.count),
    )


def _load(sweep: Sweep, label: str, task: str) -> _Seed | None:
    """Read what a sweep logged; None without samples of the whole adapter."""
    evidence = Evidence()
    entry = sweep.tasks[task]
    whole = (sweep.layers() or 0) - 1
    scored = {}
    for boundary in (row["boundary"] for row in entry["boundaries"]):
        result = _result(sweep, boundary, task, entry["metric"])
        logged = None if result is None else evidence.scored(result, entry["metric"])
        if logged is not None:
            scored[boundary] = logged
    return _Seed(label, scored, whole) if whole in scored else None


def _result(sweep: Sweep, boundary: int, task: str, key: str) -> TaskResult | None:
    run = sweep.run(boundary)
    if run is None or task not in run.tasks or key not in run.tasks[task].values:
        return None
    return run.tasks[task]


def _boundaries(seeds: Sequence[_Seed]) -> tuple[int, ...]:
    """Return the boundaries that every sweep scored on all documents, without the whole adapter."""
    complete = [
        {
            boundary
            # a race stops some boundaries early
            for boundary, scored in seed.scored.items()
            if scored.places.keys() >= seed.scored[seed.whole].places.keys()
        }
        for seed in seeds
    ]
    return tuple(sorted(set.intersection(*complete) - {seeds[0].whole}))
