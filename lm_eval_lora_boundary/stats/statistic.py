"""Metrics as functions of documents, so that any of them can be resampled.

For every document lm-eval logs an item per metric: a number, or a reference and a response for
corpus metrics. A statistic computes the metric from these items on any sample of documents. It is
used only if it reproduces the values that lm-eval reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sacrebleu import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric

from .aggregates import NUMBER_TYPES, Aggregates, Array, Counts


class Statistic(Protocol):
    """A metric of several columns (boundaries, models) over the same documents."""

    @property
    def documents(self) -> int:
        """Number of documents."""

    @property
    def observed(self) -> Array:
        """The metric on all documents, shape (columns,)."""

    @property
    def binary(self) -> Array | None:
        """1 if right and 0 if wrong, shape (documents, columns); None for other metrics."""

    @property
    def values(self) -> Array | None:
        """Values whose mean is the metric, shape (documents, columns); None for other metrics."""

    @property
    def costly(self) -> bool:
        """Whether the metric is so slow that fewer bootstrap draws should be made."""

    def resample(self, counts: Counts) -> Array:
        """Return the metric on bootstrap samples, shape (draws, columns).

        Args:
            counts: How often each document was drawn, shape (draws, documents).
        """

    def permuted_differences(self, signs: npt.NDArray[np.int8], reference: int) -> Array:
        """Return differences from a column after swapping answers, shape (permutations, columns).

        Args:
            signs: -1 for swapped documents, else 1, shape (permutations, documents).
            reference: The column to compare with and to swap answers with.
        """

    def pooled(
        self,
        counts: Counts,
        column: int,
        other_counts: Counts,
        other: int,
    ) -> Array:
        """Return the metric on documents of one column pooled with documents of another.

        Args:
            counts: How often each document of the column is counted, shape (draws, documents).
            column: A column.
            other_counts: The same for the documents of the other column.
            other: Another column.

        Returns:
            Shape (draws,).
        """

    def differing(self, reference: int) -> npt.NDArray[np.bool_]:
        """Return which documents differ from the reference column, shape (documents, columns)."""

    def take(self, columns: Sequence[int]) -> Statistic:
        """Return the statistic for some of the columns."""

    def estimate_seconds(self, draws: int) -> float:
        """Estimate how long it takes to compare the columns."""


def scale(values: Array) -> float:
    """Return how far apart two values may be: 1 for values within [0, 1], else their range."""
    within_unit = 0 <= values.min() <= values.max() <= 1
    return 1.0 if within_unit else float(np.ptp(values))


def statistic(
    metric: str,
    columns: Sequence[Sequence[Any]],
    reported: Sequence[float],
    aggregate: Callable[[Sequence[Any]], float] | None = None,
) -> Statistic | None:
    """Return a metric as a statistic, or None if the reported values cannot be reproduced.

    Args:
        metric: Name of the metric.
        columns: For each column, the items that lm-eval logged under that name.
        reported: The value that lm-eval reported for each column. Values that are not finite need
            not be reproduced; do not use their columns.
        aggregate: The task's aggregation function, if known.
    """
    values = np.asarray(reported, dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(values))
    for candidate in _candidates(metric, columns, finite, aggregate):
        # the order of summation changes rounding only; another metric differs by more
        if np.allclose(candidate.observed[finite], values[finite], rtol=1e-9, atol=1e-12):
            return candidate
    return None


def _candidates(
    metric: str,
    columns: Sequence[Sequence[Any]],
    finite: Counts,
    aggregate: Callable[[Sequence[Any]], float] | None,
) -> Iterator[Statistic]:
    """Yield the statistics that may be the metric, the fastest first."""
    items = [item for column in columns for item in column]
    if not items or not len(finite):
        return
    if all(isinstance(item, NUMBER_TYPES) for item in items):
        values = np.array(columns, dtype=np.float64).T
        if np.isfinite(values[:, finite]).all():
            yield Means(values)
    elif all(map(_is_text_pair, items)):
        for scorer in _scorers(metric):
            yield CorpusScores.of_texts(columns, scorer)
    if aggregate is not None:
        yield Aggregates(columns, aggregate)


class Means:
    """Means over documents; a :class:`Statistic`."""

    costly = False

    def __init__(self, values: Array) -> None:
        """Compute the means of values of shape (documents, columns)."""
        self.documents = len(values)
        self.observed: Array = values.mean(axis=0)
        self.binary = values if np.isin(values, (0, 1)).all() else None
        self.values: Array = values

    def resample(self, counts: Counts) -> Array:
        """Return the means on bootstrap samples."""
        means: Array = (counts @ self.values) / counts.sum(axis=1, keepdims=True)
        return means

    def permuted_differences(self, signs: npt.NDArray[np.int8], reference: int) -> Array:
        """Return differences from the reference after swapping answers."""
        differences = self.values - self.values[:, [reference]]
        means: Array = (signs.astype(np.float64) @ differences) / self.documents
        return means

    def pooled(self, counts: Counts, column: int, other_counts: Counts, other: int) -> Array:
        """Return the means over documents of one column pooled with documents of another."""
        sums = counts @ self.values[:, column] + other_counts @ self.values[:, other]
        means: Array = sums / (counts + other_counts).sum(axis=1)
        return means

    def differing(self, reference: int) -> npt.NDArray[np.bool_]:
        """Return which documents differ from the reference."""
        differing: npt.NDArray[np.bool_] = self.values != self.values[:, [reference]]
        return differing

    def take(self, columns: Sequence[int]) -> Means:
        """Return the statistic for some of the columns."""
        return Means(self.values[:, columns])

    def estimate_seconds(self, draws: int) -> float:
        """Return 0: means are computed in no time."""
        return 0.0


class CorpusScores:
    """BLEU, chrF or TER from sacrebleu's sufficient statistics; a :class:`Statistic`."""

    binary = values = None
    costly = True

    def __init__(self, counts: Sequence[Counts], scorer: Metric) -> None:
        """Take the sufficient statistics.

        Args:
            counts: For each column, those of every document, shape (documents, statistics), as in
                sacrebleu's own paired tests.
            scorer: sacrebleu's metric.
        """
        self.counts = counts
        self.scorer = scorer
        self.documents = len(counts[0])
        self.observed = self.resample(np.ones((1, self.documents), dtype=np.int64))[0]

    @classmethod
    def of_texts(cls, columns: Sequence[Sequence[Any]], scorer: Metric) -> CorpusScores:
        """Extract the sufficient statistics.

        Args:
            columns: For each column, (reference or references, response) of every document.
            scorer: sacrebleu's metric.
        """
        return cls([np.array(_extract(column, scorer)) for column in columns], scorer)

    def resample(self, counts: Counts) -> Array:
        """Return the corpus scores of bootstrap samples."""
        scores: Array = np.array([self._scores(counts @ column) for column in self.counts]).T
        return scores

    def permuted_differences(self, signs: npt.NDArray[np.int8], reference: int) -> Array:
        """Return differences from the reference after swapping answers."""
        stay = (signs > 0).astype(np.int64)
        other = self.counts[reference]
        differences = np.zeros((len(signs), len(self.counts)))
        for i, own in enumerate(self.counts):
            if (own != other).any():
                own_sums = other.sum(axis=0) + stay @ (own - other)
                other_sums = own.sum(axis=0) + stay @ (other - own)
                differences[:, i] = np.subtract(self._scores(own_sums), self._scores(other_sums))
        return differences

    def pooled(self, counts: Counts, column: int, other_counts: Counts, other: int) -> Array:
        """Return the corpus scores of documents of one column pooled with those of another."""
        own, others = self.counts[column], self.counts[other]
        return np.array(self._scores(counts @ own + other_counts @ others))

    def differing(self, reference: int) -> npt.NDArray[np.bool_]:
        """Return which documents differ from the reference."""
        other = self.counts[reference]
        differing: npt.NDArray[np.bool_] = np.array(
            [(own != other).any(axis=1) for own in self.counts]
        ).T
        return differing

    def take(self, columns: Sequence[int]) -> CorpusScores:
        """Return the statistic for some of the columns."""
        return CorpusScores([self.counts[i] for i in columns], self.scorer)

    def estimate_seconds(self, draws: int) -> float:
        """Return 0: a score takes microseconds."""
        return 0.0

    def _scores(self, sums: Counts) -> list[float]:
        """Return the corpus scores of summed statistics, shape (samples, statistics)."""
        score = self.scorer._compute_score_from_stats
        return [score(row).score for row in sums.tolist()]


def _extract(column: Sequence[Any], scorer: Metric) -> list[list[Any]]:
    """Return sacrebleu's sufficient statistics of every document."""
    references = [[item[0]] if isinstance(item[0], str) else item[0] for item in column]
    # sacrebleu takes one list per reference number, None where a document has fewer
    by_number = [list(numbered) for numbered in zip_longest(*references)]
    responses = [item[1] if isinstance(item[1], str) else item[1][0] for item in column]
    extracted: list[list[Any]] = scorer._extract_corpus_statistics(responses, by_number)
    return extracted


def _is_text_pair(item: Any) -> bool:
    """Return whether an item is (reference or references, response)."""
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        return False
    return all(
        isinstance(part, str)
        or (isinstance(part, (tuple, list)) and part and all(isinstance(p, str) for p in part))
        for part in item
    )


def _scorers(metric: str) -> Iterator[Metric]:
    """Yield the sacrebleu metrics that a name may stand for."""
    name = metric.lower()
    if "bleu" in name:
        for language in ("", "zh", *(["ja"] if find_spec("MeCab") else [])):
            yield BLEU(trg_lang=language)
        for tokenizer in ("intl", "char", "none"):
            yield BLEU(tokenize=tokenizer)
    elif "chrf" in name:
        yield from (CHRF(), CHRF(word_order=2))
    elif "ter" in name:
        yield TER()
