"""Metrics that only a task's own aggregation function can compute, as something to resample."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

NUMBERS = (bool, int, float, np.number, np.bool_)
# up to so many different items, how often each occurs says all; gold and predicted labels do
_KINDS = 16
# a draw takes one call per column, and the differences to the base model, the whole adapter and
# the best boundary two each; counts that occurred before take none
_PASSES, _PASSES_OF_KINDS = 7, 3


class Aggregates:
    """Whatever a task's own aggregation function makes of its documents."""

    binary = values = None
    costly = True

    def __init__(
        self, columns: Sequence[Sequence[Any]], aggregate: Callable[[Sequence[Any]], float]
    ) -> None:
        """Take items and the function.

        Args:
            columns: By column, the item of every document.
            aggregate: Makes a value of a column's items, in whatever order.
        """
        self._columns = columns
        self._aggregate = aggregate
        self._known: dict[bytes, float] = {}
        self._seconds = math.inf  # of the quickest call: the first may import something
        self.documents = len(columns[0])
        self._names = [[repr(item) for item in column] for column in columns]
        kinds = {
            name: item
            for names, column in zip(self._names, columns, strict=True)
            for name, item in zip(names, column, strict=True)
        }
        self._kinds = list(kinds.values()) if len(kinds) <= _KINDS else None
        order = {name: i for i, name in enumerate(kinds)}
        # by column, which kind each document is, shape (documents, kinds)
        self._is = (
            [np.eye(len(kinds), dtype=np.int64)[[order[n] for n in names]] for names in self._names]
            if self._kinds is not None
            else []
        )
        self.observed: Array = self.resampled(np.ones((1, self.documents), dtype=np.int64))[0]

    def seconds(self, draws: int) -> float:
        """Return about how long it takes to compare the columns with so many draws."""
        calls = _PASSES * draws * len(self._columns)
        if self._kinds is not None:
            equal = np.full(self.documents, 1 / self.documents)
            counts = np.random.default_rng(0).multinomial(self.documents, equal, size=draws)
            tallies = np.concatenate([counts @ each for each in self._is])
            calls = _PASSES_OF_KINDS * len(np.unique(tallies, axis=0))
        return calls * self._seconds

    def take(self, columns: Sequence[int]) -> Aggregates:
        """Return the same of some columns, as :class:`Statistic`."""
        return Aggregates([self._columns[i] for i in columns], self._aggregate)

    def resampled(self, counts: Counts) -> Array:
        """Return the function's values on drawn documents, as :class:`Statistic`."""
        none = np.zeros_like(counts)
        columns = range(len(self._columns))
        found: Array = np.array([self._values(counts, i, none, i) for i in columns]).T
        return found

    def exchanged(self, signs: npt.NDArray[np.int8], reference: int) -> Array:
        """Return differences with exchanged documents, as :class:`Statistic`."""
        stay = (signs > 0).astype(np.int64)
        found = np.zeros((len(signs), len(self._columns)))
        for i, differ in enumerate(self.differing(reference)):
            if differ:
                there = self._values(stay, i, 1 - stay, reference)
                found[:, i] = np.subtract(there, self._values(1 - stay, i, stay, reference))
        return found

    def differing(self, reference: int) -> npt.NDArray[np.int64]:
        """Return how many documents differ, as :class:`Statistic`."""
        names = np.array(self._names)
        found: npt.NDArray[np.int64] = (names != names[reference]).sum(axis=1)
        return found

    def _values(self, counts: Counts, column: int, others: Counts, other: int) -> list[float]:
        """Return values of documents of one column and documents of another, taken together."""
        if self._kinds is not None:
            tallies = counts @ self._is[column] + others @ self._is[other]
            return [self._of_kinds(tally) for tally in tallies]
        a, b = self._columns[column], self._columns[other]
        return [
            self._value(
                [a[i] for i in np.repeat(np.arange(self.documents), mine).tolist()]
                + [b[i] for i in np.repeat(np.arange(self.documents), theirs).tolist()]
            )
            for mine, theirs in zip(counts, others, strict=True)
        ]

    def _of_kinds(self, tally: Counts) -> float:
        """Return the value of so many items of each kind, computed once."""
        key = tally.tobytes()
        if key not in self._known:
            items = zip(self._kinds or [], tally.tolist(), strict=True)
            self._known[key] = self._value([item for item, n in items for _ in range(n)])
        return self._known[key]

    def _value(self, items: Sequence[Any]) -> float:
        start = time.perf_counter()
        try:
            value = self._aggregate(items)
        except (ValueError, ArithmeticError):  # such as one class only
            return math.nan
        finally:
            self._seconds = min(self._seconds, time.perf_counter() - start)
        return float(value) if isinstance(value, NUMBERS) else math.nan
