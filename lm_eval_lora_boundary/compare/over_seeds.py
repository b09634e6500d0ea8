"""The mean of a difference over training seeds, with an interval over seeds and documents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

Array = npt.NDArray[np.float64]

LEVEL = 0.95


@dataclass(frozen=True)
class OverSeeds:
    """Means over seeds; every array has shape (columns,).

    Attributes:
        value: The mean over seeds.
        low: Lower end of its 95 % interval, NaN where there is none.
        high: Upper end.
        deviation: Standard deviation over seeds.
    """

    value: Array
    low: Array
    high: Array
    deviation: Array


def over_seeds(values: Array, draws: Array, documents: int) -> OverSeeds:
    """Average over seeds that answered the same documents.

    A difference varies with the seed, with the document, and with both together. The variance of
    the seeds' values contains the first and the last. Resampling the documents, the same for all
    seeds, gives the second and the last; how the seeds then move against each other is the last
    alone, which is taken away so that it counts once. Seeds and documents differ in number, so each
    of the two variances is multiplied by Student's quantile of its own (as in Howe 1974, J. Am.
    Stat. Assoc. 69, 789-794, for the mean of a sum).

    Drawing seeds as well as documents anew, the usual hierarchical bootstrap, does not do for the
    few seeds that one has: where this interval covers the truth in 94 to 98 % of the simulations of
    ``benchmarks/seeds.py``, that one covers it in 81 to 100 %, depending on how much seeds differ.

    Args:
        values: Difference on all documents, shape (seeds, columns).
        draws: Difference on bootstrap samples of the documents, shape (seeds, draws, columns).
        documents: Number of documents.

    Raises:
        ValueError: There are fewer than two seeds or two documents.
    """
    seeds = len(values)
    if seeds < 2 or documents < 2:
        raise ValueError(f"expected at least 2 seeds and documents, got {seeds} and {documents}")
    of_seeds = values.var(axis=0, ddof=1) / seeds
    # the bootstrap divides by n, not by n - 1
    scale = documents / (documents - 1)
    mean = draws.mean(axis=0)
    of_documents = mean.var(axis=0) * scale
    of_both = (draws - mean).var(axis=1).sum(axis=0) * scale / (seeds - 1) / seeds
    squares = _quantile(seeds) ** 2 * of_seeds
    squares += _quantile(documents) ** 2 * np.maximum(of_documents - of_both, 0)
    # if no draw differs, nothing is known about the spread
    known = (draws != draws[:, :1]).any(axis=(0, 1)) & np.isfinite(draws).all(axis=(0, 1))
    half = np.where(known, np.sqrt(squares), np.nan)
    value: Array = values.mean(axis=0)
    return OverSeeds(value, value - half, value + half, values.std(axis=0, ddof=1))


def _quantile(number: int) -> float:
    """Return Student's quantile for the spread of a number of seeds or documents."""
    return float(scipy.stats.t.ppf((1 + LEVEL) / 2, number - 1))
