"""Metrics as functions of drawn documents, so that any of them can be resampled.

lm-eval logs what a metric keeps of every document: a number, or reference and response for corpus
metrics. From these items a statistic is made that gives the metric on documents drawn anew. It is
used only if it reproduces the values that lm-eval reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sacrebleu import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric

Array = npt.NDArray[np.float64]

_NUMBERS = (bool, int, float, np.number, np.bool_)


class Statistic(Protocol):
    """A metric of several columns (models, boundaries) over the same documents."""

    @property
    def documents(self) -> int:
        """Number of documents."""

    @property
    def observed(self) -> Array:
        """The metric on all documents, shape (columns,)."""

    @property
    def binary(self) -> Array | None:
        """Right or wrong for every document, shape (documents, columns); None for other metrics."""

    @property
    def costly(self) -> bool:
        """Whether a draw takes long enough for fewer of them to be made."""

    def resampled(self, counts: npt.NDArray[np.int64]) -> Array:
        """Return the metric on drawn documents.

        Args:
            counts: How often each document was drawn, shape (draws, documents).

        Returns:
            The metric, shape (draws, columns).
        """


def statistic(
    metric: str,
    columns: Sequence[Sequence[Any]],
    reported: Sequence[float],
    aggregate: Callable[[Sequence[Any]], float] | None = None,
) -> Statistic | None:
    """Return a metric as a statistic, or None if the reported values cannot be reproduced.

    Args:
        metric: Name of the metric.
        columns: What lm-eval logged under that name: by column, for every document.
        reported: The values that lm-eval reported, for every column.
        aggregate: What makes a value of a column's items, if known.
    """
    for candidate in _candidates(metric, columns, aggregate):
        # sums in another order differ by rounding; another metric differs by more
        if np.allclose(candidate.observed, reported, rtol=1e-9, atol=1e-12):
            return candidate
    return None


def _candidates(
    metric: str,
    columns: Sequence[Sequence[Any]],
    aggregate: Callable[[Sequence[Any]], float] | None,
) -> Iterator[Statistic]:
    """Yield what the metric may be, cheapest first."""
    items = [item for column in columns for item in column]
    if not items:
        return
    if all(isinstance(item, _NUMBERS) for item in items):
        values = np.array(columns, dtype=np.float64).T
        if np.isfinite(values).all():
            yield Means(values)
    elif all(map(_is_translation, items)):
        for scorer in _scorers(metric):
            yield CorpusScores(columns, scorer)
    if aggregate is not None:
        yield Aggregates(columns, aggregate)


class Means:
    """Means over documents."""

    costly = False

    def __init__(self, values: Array) -> None:
        """Take values.

        Args:
            values: The metric of every document, shape (documents, columns).
        """
        self.documents = len(values)
        self.observed: Array = values.mean(axis=0)
        self.binary = values if np.isin(values, (0, 1)).all() else None
        self._values = values

    def resampled(self, counts: npt.NDArray[np.int64]) -> Array:
        """Return means over drawn documents, as :class:`Statistic`."""
        means: Array = (counts @ self._values) / counts.sum(axis=1, keepdims=True)
        return means


class CorpusScores:
    """BLEU, chrF or TER, from sacrebleu's sufficient statistics of every document."""

    binary = None
    costly = True

    def __init__(self, columns: Sequence[Sequence[Any]], scorer: Metric) -> None:
        """Extract the statistics.

        Args:
            columns: By column, (reference or references, response) of every document.
            scorer: sacrebleu's metric.
        """
        self._scorer = scorer
        self.documents = len(columns[0])
        # what sacrebleu's own paired tests use; by column (documents, statistics)
        self._statistics = [np.array(self._extracted(column)) for column in columns]
        self.observed = self.resampled(np.ones((1, self.documents), dtype=np.int64))[0]

    def _extracted(self, column: Sequence[Any]) -> list[list[Any]]:
        references = [[item[0]] if isinstance(item[0], str) else item[0] for item in column]
        most = max(map(len, references))
        # sacrebleu takes one list per reference number, None where a document has fewer
        by_number = [[r[i] if i < len(r) else None for r in references] for i in range(most)]
        responses = [item[1] if isinstance(item[1], str) else item[1][0] for item in column]
        found: list[list[Any]] = self._scorer._extract_corpus_statistics(responses, by_number)  # type: ignore[arg-type]
        return found

    def resampled(self, counts: npt.NDArray[np.int64]) -> Array:
        """Return corpus scores of drawn documents, as :class:`Statistic`."""
        score = self._scorer._compute_score_from_stats
        scores = [
            [score(sums).score for sums in (counts @ statistics).tolist()]
            for statistics in self._statistics
        ]
        found: Array = np.array(scores, dtype=np.float64).T
        return found


class Aggregates:
    """Whatever a task's own aggregation function makes of its documents."""

    binary = None
    costly = True

    def __init__(
        self, columns: Sequence[Sequence[Any]], aggregate: Callable[[Sequence[Any]], float]
    ) -> None:
        """Take items and the function.

        Args:
            columns: By column, the item of every document.
            aggregate: Makes a value of a column's items.
        """
        self._columns = columns
        self._aggregate = aggregate
        self.documents = len(columns[0])
        self.observed = self.resampled(np.ones((1, self.documents), dtype=np.int64))[0]

    def resampled(self, counts: npt.NDArray[np.int64]) -> Array:
        """Return the function's values on drawn documents, as :class:`Statistic`."""
        drawn = [np.repeat(np.arange(self.documents), row).tolist() for row in counts]
        values = [
            [self._value([column[i] for i in row]) for column in self._columns] for row in drawn
        ]
        found: Array = np.array(values, dtype=np.float64)
        return found

    def _value(self, items: Sequence[Any]) -> float:
        value = self._aggregate(items)
        return float(value) if isinstance(value, _NUMBERS) else math.nan


def _is_translation(item: Any) -> bool:
    """Tell whether an item is (reference or references, response)."""
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        return False
    return all(
        isinstance(part, str)
        or (isinstance(part, (tuple, list)) and part and all(isinstance(p, str) for p in part))
        for part in item
    )


def _scorers(metric: str) -> Iterator[Metric]:
    """Yield sacrebleu's metrics that a name may mean."""
    name = metric.lower()
    if "bleu" in name:
        for language in ("", "zh", "ja"):
            yield BLEU(trg_lang=language)
        for tokenizer in ("intl", "char", "none"):
            yield BLEU(tokenize=tokenizer)
    elif "chrf" in name:
        yield from (CHRF(), CHRF(word_order=2))
    elif "ter" in name:
        yield TER()
