"""Metrics that only a task's own aggregation function can compute, in resampleable form."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

NUMBER_TYPES = (bool, int, float, np.number, np.bool_)
# With this few distinct items (labels, for example), their counts determine the value.
_MAX_DISTINCT = 16
# Calls per draw and column: one for the draw, two for each difference from the base model and the
# whole adapter, three for the share of the gain that is kept, and a few for random halves. Counts
# that occurred before are cached and cost no call.
_CALLS, _CALLS_OF_COUNTS = 8, 4


class Aggregates:
    """A metric computed by the task's own aggregation function; a :class:`Statistic`."""

    binary = values = None
    costly = True

    def __init__(
        self, columns: Sequence[Sequence[Any]], aggregate: Callable[[Sequence[Any]], float]
    ) -> None:
        """Compute the metric on all documents.

        Args:
            columns: For each column, the item of every document.
            aggregate: Computes the metric of a column from its items, in any order.
        """
        self._columns = columns
        self._aggregate = aggregate
        self._cache: dict[bytes, float] = {}
        self._seconds_per_call = math.inf  # the minimum: the first call may import something
        self.documents = len(columns[0])
        distinct = {repr(item): item for column in columns for item in column}
        index = {key: i for i, key in enumerate(distinct)}
        # equal numbers for equal items, shape (columns, documents)
        self._codes = np.array([[index[repr(item)] for item in column] for column in columns])
        self._items = list(distinct.values()) if len(distinct) <= _MAX_DISTINCT else None
        if self._items is not None:  # shape (columns, documents, items)
            self._one_hot = np.eye(len(distinct), dtype=np.int64)[self._codes]
        self.observed: Array = self.resample(np.ones((1, self.documents), dtype=np.int64))[0]

    def estimate_seconds(self, draws: int) -> float:
        """Estimate how long it takes to compare the columns."""
        calls = _CALLS * draws * len(self._columns)
        if self._items is not None:
            equal = np.full(self.documents, 1 / self.documents)
            counts = np.random.default_rng(0).multinomial(self.documents, equal, size=draws)
            item_counts = np.concatenate([counts @ one_hot for one_hot in self._one_hot])
            calls = _CALLS_OF_COUNTS * len(np.unique(item_counts, axis=0))
        return calls * self._seconds_per_call

    def take(self, columns: Sequence[int]) -> Aggregates:
        """Return the statistic for some of the columns."""
        return Aggregates([self._columns[i] for i in columns], self._aggregate)

    def resample(self, counts: Counts) -> Array:
        """Return the metric on bootstrap samples."""
        none = np.zeros_like(counts)
        columns = range(len(self._columns))
        values: Array = np.array([self.pooled(counts, i, none, i) for i in columns]).T
        return values

    def permuted_differences(self, signs: npt.NDArray[np.int8], reference: int) -> Array:
        """Return differences from the reference after swapping answers."""
        stay = (signs > 0).astype(np.int64)
        differences = np.zeros((len(signs), len(self._columns)))
        differing = self.differing(reference)
        for i in range(len(self._columns)):
            if differing[:, i].any():
                own = self.pooled(stay, i, 1 - stay, reference)
                differences[:, i] = own - self.pooled(1 - stay, i, stay, reference)
        return differences

    def differing(self, reference: int) -> npt.NDArray[np.bool_]:
        """Return which documents differ from the reference."""
        differing: npt.NDArray[np.bool_] = (self._codes != self._codes[reference]).T
        return differing

    def pooled(self, counts: Counts, column: int, other_counts: Counts, other: int) -> Array:
        """Return the metric on documents of one column pooled with documents of another."""
        if self._items is not None:
            item_counts = counts @ self._one_hot[column] + other_counts @ self._one_hot[other]
            return np.array([self._evaluate_item_counts(row) for row in item_counts])
        a, b = self._columns[column], self._columns[other]
        documents = np.arange(self.documents)
        return np.array(
            [
                self._evaluate_items(
                    [a[i] for i in np.repeat(documents, own).tolist()]
                    + [b[i] for i in np.repeat(documents, others).tolist()]
                )
                for own, others in zip(counts, other_counts, strict=True)
            ]
        )

    def _evaluate_item_counts(self, item_counts: Counts) -> float:
        key = item_counts.tobytes()
        if key not in self._cache:
            pairs = zip(self._items or [], item_counts.tolist(), strict=True)
            self._cache[key] = self._evaluate_items([item for item, n in pairs for _ in range(n)])
        return self._cache[key]

    def _evaluate_items(self, items: Sequence[Any]) -> float:
        start = time.perf_counter()
        try:
            value = self._aggregate(items)
        except (ValueError, ArithmeticError):  # for example, a sample with a single class
            return math.nan
        finally:
            elapsed = time.perf_counter() - start
            self._seconds_per_call = min(self._seconds_per_call, elapsed)
        return float(value) if isinstance(value, NUMBER_TYPES) else math.nan
