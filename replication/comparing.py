"""Comparisons of cuts, computed from records.

Tests and intervals are those of a sweep (docs/statistics.md): paired over documents. With several
seeds, a value is the mean over seeds. From three seeds on, its interval is over seeds and
documents. Two say so little about others that such an interval would be of no use, and it is over
documents, for these two adapters.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.stats

from lm_eval_lora_boundary.compare.over_seeds import over_seeds
from lm_eval_lora_boundary.stats.aggregates import Array, Counts
from lm_eval_lora_boundary.stats.bootstrap import Bootstrap
from lm_eval_lora_boundary.stats.statistic import Means, Statistic
from lm_eval_lora_boundary.stats.units import Units

from .cuts import boundary
from .metrics import Record, scores, sign_of

SEEDS_FOR_AN_INTERVAL = 3


@dataclass(frozen=True)
class Value:
    """A metric of one cut, or a difference between two.

    Attributes:
        value: The mean over seeds.
        low: Lower end of the 95 % interval.
        high: Upper end.
        documents: Number of documents.
        seeds: Number of training seeds.
    """

    value: float
    low: float
    high: float
    documents: int
    seeds: int = 1

    def times(self, sign: int) -> Value:
        """Return the same, with its sign changed if ``sign`` is -1."""
        if sign > 0:
            return self
        return Value(-self.value, -self.high, -self.low, self.documents, self.seeds)


def boundaries(task: Record, layers: int) -> dict[int, str]:
    """Return the boundaries that a task was scored under, each with its cut's name."""
    cuts = next(iter(task["metrics"].values()))["cuts"]
    names = {number: boundary(number, layers) for number in range(-1, layers)}
    return {number: name for number, name in names.items() if name in cuts}


def value(tasks: Sequence[Record], metric: str, cuts: Sequence[str]) -> Value:
    """Return a metric, the mean over seeds, with an interval.

    Args:
        tasks: The scores of a task, by seed.
        metric: The metric's key.
        cuts: The cut of each seed.
    """
    found = _bootstraps(tasks, metric, [[cut] for cut in cuts])
    if len(found) == 1:
        documents, (low, high) = found[0].statistic.documents, found[0].interval()
        return _value(found[0].observed, low, high, documents, len(tasks))
    return _over_seeds(found, [each.observed for each in found], [each.draws for each in found])


def difference(
    tasks: Sequence[Record], metric: str, cuts: Sequence[str], references: Sequence[str]
) -> Value:
    """Return how much better cuts are than other cuts: the mean over seeds, with an interval.

    Args:
        tasks: The scores of a task, by seed.
        metric: The metric's key. If low values are good, the sign is changed.
        cuts: The cut of each seed.
        references: What it is compared with, for each seed.
    """
    sign = sign_of(tasks[0], metric)
    if list(cuts) == list(references):  # nothing is estimated
        return Value(0.0, 0.0, 0.0, int(tasks[0]["documents"]), len(tasks))
    found = _bootstraps(tasks, metric, list(zip(cuts, references, strict=True)))
    if len(found) == 1:
        compared, documents = found[0].difference(1), found[0].statistic.documents
        only = _value(compared.value, compared.low, compared.high, documents, len(tasks))
        return only.times(sign)
    values = [each.observed[:1] - each.observed[1:] for each in found]
    draws = [each.draws[:, :1] - each.draws[:, 1:] for each in found]
    return _over_seeds(found, values, draws).times(sign)


def against_several(
    tasks: Sequence[Record], metric: str, cuts: Sequence[str], rivals: Sequence[Sequence[str]]
) -> tuple[list[Value], list[float]]:
    """Return how much better cuts are than each of several others.

    Args:
        tasks: The scores of a task, by seed.
        metric: The metric's key. If low values are good, the sign is changed.
        cuts: The cut of each seed.
        rivals: What it is compared with: for each rival, the cut of each seed.

    Returns:
        The differences, each with an interval of its own; and the upper ends of intervals that hold
        for all rivals at once. With one seed, these are those of a sweep (max-T); with several,
        Bonferroni's, by which the half of each interval is made longer.
    """
    found = [difference(tasks, metric, cuts, rival) for rival in rivals]
    if len(tasks) > 1:
        # what such an interval rests on least: seeds from three on, and documents before
        few = len(tasks) < SEEDS_FOR_AN_INTERVAL
        freedom = (found[0].documents if few else len(tasks)) - 1
        quantile = scipy.stats.t.ppf([1 - 0.025 / len(rivals), 0.975], freedom)
        longer = float(quantile[0] / quantile[1])
        return found, [each.value + longer * (each.high - each.value) for each in found]
    columns = [*cuts, *(rival[0] for rival in rivals)]
    together = _bootstrap(tasks[0], metric, columns).difference(0)
    # these are the rivals' gains over the cut
    if sign_of(tasks[0], metric) > 0:
        return found, (-together.simultaneous_low[1:]).tolist()
    return found, together.simultaneous_high[1:].tolist()


def between(
    cut: tuple[Sequence[Record], Sequence[str]],
    other: tuple[Sequence[Record], Sequence[str]],
    metric: str,
) -> Value:
    """Return how much better one adapter's cut is than another adapter's, on the same documents.

    Args:
        cut: The scores by seed, and the cut of each seed.
        other: The same of what it is compared with.
        metric: The metric's key.

    Raises:
        ValueError: They were not scored on the same documents.
    """
    joined = []
    for mine, name, theirs, their_name in zip(*cut, *other, strict=True):
        if mine["ids"] != theirs["ids"]:
            raise ValueError("expected scores on the same documents")
        entry = dict(mine["metrics"][metric])
        entry["cuts"] = {
            "one": entry["cuts"][name],
            "other": theirs["metrics"][metric]["cuts"][their_name],
        }
        joined.append(dict(mine) | {"metrics": {metric: entry}})
    return difference(joined, metric, ["one"] * len(joined), ["other"] * len(joined))


def resampled_best(task: Record, metric: str, layers: int, draws: int = 1000) -> list[int]:
    """Return the best boundary on resampled documents.

    As on the documents themselves, that is the whole adapter unless another one is better; the
    smallest of equally good ones.

    Args:
        task: The scores on the validation split, under the whole adapter among others.
        metric: The metric's key.
        layers: Number of layers.
        draws: Number of samples.
    """
    names = boundaries(task, layers)
    statistic = scores(task, metric, list(names.values()))
    units = _units(statistic, task)
    generator = np.random.default_rng(0)
    equal = np.full(units.count, 1 / units.count)
    counts = units.spread(generator.multinomial(units.count, equal, size=draws))
    values = np.nan_to_num(sign_of(task, metric) * statistic.resample(counts), nan=-np.inf)
    numbers = np.array(list(names))
    whole = layers - 1
    better = values.max(axis=1) > values[:, list(names).index(whole)]
    best: list[int] = np.where(better, numbers[values.argmax(axis=1)], whole).tolist()
    return best


def best_on_halves(
    task: Record, metric: str, reference: str, splits: int = 500
) -> tuple[float, float]:
    """Choose the best of all cuts on a random half of the documents, and score it on both halves.

    Args:
        task: The scores.
        metric: The metric's key.
        reference: The cut to compare with.
        splits: Number of random splits.

    Returns:
        How much better the best cut is than the reference: on the half that it was chosen on, and
        on the other half; means over the splits.
    """
    # the reference comes first, and is chosen unless another cut is better
    cuts = list(dict.fromkeys((reference, *task["metrics"][metric]["cuts"])))
    statistic, sign = scores(task, metric, cuts), sign_of(task, metric)
    seen, unseen = [], []
    for first, second in _units(statistic, task).halves(splits):
        chosen_on, other = sign * statistic.resample(first), sign * statistic.resample(second)
        best = np.nan_to_num(chosen_on, nan=-np.inf).argmax(axis=1)
        rows = np.arange(len(best))
        seen.append(chosen_on[rows, best] - chosen_on[:, 0])
        unseen.append(other[rows, best] - other[:, 0])
    return float(np.concatenate(seen).mean()), float(np.concatenate(unseen).mean())


def _bootstraps(
    tasks: Sequence[Record], metric: str, columns: Sequence[Sequence[str]]
) -> list[Bootstrap]:
    """Return the statistics of some cuts by seed.

    If seeds are too few for an interval over them, and values are means over documents, each
    document's mean over seeds is taken first, and there is one.
    """
    entries = [task["metrics"][metric] for task in tasks]
    few = 1 < len(tasks) < SEEDS_FOR_AN_INTERVAL
    if not few or entries[0]["kind"] != "mean":
        return [_bootstrap(task, metric, cuts) for task, cuts in zip(tasks, columns, strict=True)]
    by_seed = [
        [entry["cuts"][cut]["documents"] for cut in cuts]
        for entry, cuts in zip(entries, columns, strict=True)
    ]
    return [_of_statistic(Means(np.mean(by_seed, axis=0).T), tasks[0])]


def _bootstrap(task: Record, metric: str, cuts: Sequence[str]) -> Bootstrap:
    return _of_statistic(scores(task, metric, cuts), task)


def _of_statistic(statistic: Statistic, task: Record) -> Bootstrap:
    return Bootstrap(statistic, units=_units(statistic, task))


def _units(statistic: Statistic, task: Record) -> Units:
    clusters = task["clusters"]
    return _drawn_once(statistic.documents, None if clusters is None else tuple(clusters))


class _DrawnOnce(Units):
    """Units that keep their draws: most of the time goes into drawing, and draws never differ."""

    def __init__(self, documents: int, clusters: Sequence[Hashable] | None) -> None:
        super().__init__(documents, clusters)
        self._drawn: dict[int, list[Counts]] = {}

    def draws(self, number: int) -> Iterator[Counts]:
        if number not in self._drawn:
            self._drawn[number] = list(super().draws(number))
        return iter(self._drawn[number])


# as many as there are splits of all data sets
@lru_cache(maxsize=16)
def _drawn_once(documents: int, clusters: tuple[Hashable, ...] | None) -> Units:
    return _DrawnOnce(documents, clusters)


def _over_seeds(
    found: Sequence[Bootstrap], values: Sequence[Array], draws: Sequence[Array]
) -> Value:
    """Return the mean over seeds of the first column, with an interval.

    Args:
        found: What was drawn, by seed: the same documents.
        values: The columns' values, by seed.
        draws: The same of every draw.
    """
    documents, units = found[0].statistic.documents, found[0].units.count
    if len(values) >= SEEDS_FOR_AN_INTERVAL:
        over = over_seeds(np.array(values), np.array(draws), units)
        return _value(over.value, over.low, over.high, documents, len(values))
    mean = np.mean(values, axis=0)
    # the bootstrap divides by n, not by n - 1
    deviation = np.mean(draws, axis=0).std(axis=0) * np.sqrt(units / (units - 1))
    # where no draw differs from another, nothing is known of other documents
    half = float(scipy.stats.t.ppf(0.975, units - 1)) * np.where(deviation > 0, deviation, np.nan)
    return _value(mean, mean - half, mean + half, documents, len(values))


def _value(value: Array, low: Array, high: Array, documents: int, seeds: int = 1) -> Value:
    """Return the first column."""
    return Value(float(value[0]), float(low[0]), float(high[0]), documents, seeds)
