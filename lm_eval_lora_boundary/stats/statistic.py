"""Metrics as functions of drawn documents, so that any of them can be resampled.

lm-eval logs what a metric keeps of every document: a number, or reference and response for corpus
metrics. From these items a statistic is made that gives the metric on documents drawn anew. It is
used only if it reproduces the values that lm-eval reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sacrebleu import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric

from .aggregates import NUMBERS, Aggregates, Array


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
    def values(self) -> Array | None:
        """Values whose mean it is, shape (documents, columns); None for other metrics."""

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

    def exchanged(self, signs: npt.NDArray[np.int8], reference: int) -> Array:
        """Return differences to a column with which answers to some documents are exchanged.

        Args:
            signs: -1 for a document whose answers are exchanged, else 1, shape (ways, documents).
            reference: The column.

        Returns:
            The differences, shape (ways, columns).
        """

    def differing(self, reference: int) -> npt.NDArray[np.int64]:
        """Return how many documents are not as in the reference column, shape (columns,)."""

    def take(self, columns: Sequence[int]) -> Statistic:
        """Return the same of some columns."""

    def seconds(self, draws: int) -> float:
        """Return about how long it takes to compare the columns with so many draws."""


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
        reported: The values that lm-eval reported, for every column; one that is not finite
            need not be reproduced, and its column is of no use.
        aggregate: What makes a value of a column's items, if known.
    """
    values = np.asarray(reported, dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(values))
    for candidate in _candidates(metric, columns, finite, aggregate):
        # sums in another order differ by rounding; another metric differs by more
        if np.allclose(candidate.observed[finite], values[finite], rtol=1e-9, atol=1e-12):
            return candidate
    return None


def _candidates(
    metric: str,
    columns: Sequence[Sequence[Any]],
    finite: npt.NDArray[np.int64],
    aggregate: Callable[[Sequence[Any]], float] | None,
) -> Iterator[Statistic]:
    """Yield what the metric may be, cheapest first."""
    items = [item for column in columns for item in column]
    if not items or not len(finite):
        return
    if all(isinstance(item, NUMBERS) for item in items):
        values = np.array(columns, dtype=np.float64).T
        if np.isfinite(values[:, finite]).all():
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
        self.values: Array = values

    def resampled(self, counts: npt.NDArray[np.int64]) -> Array:
        """Return means over drawn documents, as :class:`Statistic`."""
        means: Array = (counts @ self.values) / counts.sum(axis=1, keepdims=True)
        return means

    def exchanged(self, signs: npt.NDArray[np.int8], reference: int) -> Array:
        """Return differences with exchanged documents, as :class:`Statistic`."""
        differences = self.values - self.values[:, [reference]]
        means: Array = (signs.astype(np.float64) @ differences) / self.documents
        return means

    def differing(self, reference: int) -> npt.NDArray[np.int64]:
        """Return how many documents differ, as :class:`Statistic`."""
        found: npt.NDArray[np.int64] = (self.values != self.values[:, [reference]]).sum(axis=0)
        return found

    def take(self, columns: Sequence[int]) -> Means:
        """Return the same of some columns, as :class:`Statistic`."""
        return Means(self.values[:, columns])

    def seconds(self, draws: int) -> float:
        """Return a time too short to matter, as :class:`Statistic`."""
        return 0.0


class CorpusScores:
    """BLEU, chrF or TER, from sacrebleu's sufficient statistics of every document."""

    binary = values = None
    costly = True

    def __init__(self, columns: Sequence[Sequence[Any]], scorer: Metric) -> None:
        """Extract the statistics.

        Args:
            columns: By column, (reference or references, response) of every document.
            scorer: sacrebleu's metric.
        """
        self._columns = columns
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
        found: Array = np.array([self._scores(counts @ each) for each in self._statistics]).T
        return found

    def exchanged(self, signs: npt.NDArray[np.int8], reference: int) -> Array:
        """Return differences with exchanged documents, as :class:`Statistic`."""
        stay = (signs > 0).astype(np.int64)
        theirs = self._statistics[reference]
        found = np.zeros((len(signs), len(self._statistics)))
        for i, mine in enumerate(self._statistics):
            if (mine != theirs).any():
                kept = theirs.sum(axis=0) + stay @ (mine - theirs)
                given = mine.sum(axis=0) + stay @ (theirs - mine)
                found[:, i] = np.subtract(self._scores(kept), self._scores(given))
        return found

    def differing(self, reference: int) -> npt.NDArray[np.int64]:
        """Return how many documents differ, as :class:`Statistic`."""
        theirs = self._statistics[reference]
        return np.array([(mine != theirs).any(axis=1).sum() for mine in self._statistics])

    def take(self, columns: Sequence[int]) -> CorpusScores:
        """Return the same of some columns, as :class:`Statistic`."""
        return CorpusScores([self._columns[i] for i in columns], self._scorer)

    def seconds(self, draws: int) -> float:
        """Return a time too short to matter: a score takes microseconds."""
        return 0.0

    def _scores(self, sums: npt.NDArray[np.int64]) -> list[float]:
        """Return corpus scores of sums of the statistics, shape (draws, statistics)."""
        score = self._scorer._compute_score_from_stats
        return [score(each).score for each in sums.tolist()]


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
