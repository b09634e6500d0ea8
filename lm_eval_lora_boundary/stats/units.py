"""What is drawn and exchanged: documents, or clusters of documents that belong together.

Segments of one text, turns of one dialogue and questions about one passage succeed or fail
together. A test that treats them as independent finds differences that are not there. So whole
clusters are drawn, exchanged and split (Miller 2024, "Adding Error Bars to Evals", arXiv
2411.00640).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .aggregates import Array, Counts

_Number = TypeVar("_Number", bound=np.generic)

SEED = 1234
_CHUNK = 250  # draws in memory at a time


class Units:
    """The units of a sample of documents.

    Attributes:
        documents: Number of documents.
        count: Number of units.
        sizes: Number of documents in each unit, shape (units,).
    """

    def __init__(self, documents: int, clusters: Sequence[Hashable] | None = None) -> None:
        """Number the clusters.

        Args:
            documents: Number of documents.
            clusters: What each document belongs to; None if every document stands alone.
        """
        self.documents = documents
        numbers: dict[Hashable, int] = {}
        places = [numbers.setdefault(each, len(numbers)) for each in clusters or ()]
        # as many clusters as documents are the documents
        single = len(numbers) in (0, documents)
        self.of: npt.NDArray[np.int64] | None = None if single else np.array(places)
        self.count = documents if single else len(numbers)
        self.sizes: npt.NDArray[np.int64] = (
            np.ones(documents, dtype=np.int64) if self.of is None else np.bincount(self.of)
        )

    def spread(self, per_unit: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        """Return numbers per unit, shape (..., units), as numbers per document."""
        return per_unit if self.of is None else per_unit[..., self.of]

    def means(self, values: Array) -> Array:
        """Return a value per unit whose mean over units is the mean of the values over documents.

        Args:
            values: Shape (documents, columns).
        """
        if self.of is None:
            return values
        sums = np.zeros((self.count, values.shape[1]))
        np.add.at(sums, self.of, values)
        scaled: Array = sums * (self.count / self.documents)
        return scaled

    def one(self, unit: int) -> Counts:
        """Return which documents a unit has, shape (1, documents)."""
        chosen = np.zeros((1, self.count), dtype=np.int64)
        chosen[0, unit] = 1
        return self.spread(chosen)

    def draws(self, number: int) -> Iterator[Counts]:
        """Yield how often each document is drawn, in arrays of shape (draws, documents)."""
        generator = np.random.default_rng(SEED)
        equal = np.full(self.count, 1 / self.count)
        for start in range(0, number, _CHUNK):
            size = min(_CHUNK, number - start)
            yield self.spread(generator.multinomial(self.count, equal, size=size))

    def draws_with_one_more(self, number: int) -> Iterator[tuple[Counts, Counts]]:
        """Yield draws of the units and of one more that stands for itself.

        Yields:
            How often each document is drawn, shape (draws, documents), and how often the one more,
            shape (draws,).
        """
        generator = np.random.default_rng(SEED)
        equal = np.full(self.count + 1, 1 / (self.count + 1))
        for start in range(0, number, _CHUNK):
            size = min(_CHUNK, number - start)
            counts = generator.multinomial(self.count + 1, equal, size=size)
            yield self.spread(counts[:, 1:]), counts[:, 0]

    def halves(self, number: int) -> Iterator[tuple[Counts, Counts]]:
        """Yield random halves: which documents each has, shape (splits, documents) twice.

        An odd unit is in the second half.
        """
        generator = np.random.default_rng(SEED)
        first = np.zeros((number, self.count), dtype=np.int64)
        for row in first:
            row[generator.permutation(self.count)[: self.count // 2]] = 1
        for start in range(0, number, _CHUNK):
            chunk = self.spread(first[start : start + _CHUNK])
            yield chunk, 1 - chunk

    def sign_flips(self, number: int) -> Iterator[npt.NDArray[np.int8]]:
        """Yield all ways of swapping units if there are at most ``number``, else a random sample.

        Args:
            number: Size of the sample.

        Yields:
            Arrays of shape (permutations, units): -1 for a unit whose answers are swapped, else 1.
            The very first row swaps none. If all ways are listed, the first unit is never swapped,
            since swapping the complement only changes the sign of the difference.
        """
        units = self.count
        if units <= 30 and 2 ** (units - 1) <= number:
            swapped = np.arange(2 ** (units - 1))[:, None] >> np.arange(units - 1) & 1
            yield np.hstack([np.ones((len(swapped), 1)), 1 - 2 * swapped]).astype(np.int8)
            return
        yield np.ones((1, units), dtype=np.int8)
        generator = np.random.default_rng([SEED, units])
        for start in range(0, number, _CHUNK):
            size = (min(_CHUNK, number - start), units)
            yield 1 - 2 * generator.integers(0, 2, size, dtype=np.int8)

    def weights(self, number: int) -> Iterator[Array]:
        """Yield random weights of the units and of one more, in arrays of (draws, units + 1).

        They are uniform on the simplex: Dirichlet(1, …, 1).
        """
        generator = np.random.default_rng(SEED)
        for start in range(0, number, _CHUNK):
            size = (min(_CHUNK, number - start), self.count + 1)
            exponential = generator.standard_exponential(size)
            yield exponential / exponential.sum(axis=1, keepdims=True)
