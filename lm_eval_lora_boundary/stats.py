"""Paired statistics over documents: every boundary answered the same ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

DRAWS = 10_000
SEED = 1234
_AT_ONCE = 250


@dataclass(frozen=True)
class Paired:
    """What documents drawn anew say about each column of a matrix of values.

    Attributes:
        ci_low: Lower end of the 95 % interval of the difference to the reference column, shape
            (columns,).
        ci_high: Its upper end, shape (columns,).
        p_value: Two-sided, of no difference, shape (columns,).
        win_rate: Share of draws in which the column has the best mean, shape (columns,).
        not_worse: Whether the best column is not significantly better, at 5 %, shape (columns,).
    """

    ci_low: Array
    ci_high: Array
    p_value: Array
    win_rate: Array
    not_worse: npt.NDArray[np.bool_]


def paired_bootstrap(
    values: Array, reference: int, *, higher_is_better: bool = True, draws: int = DRAWS
) -> Paired:
    """Draw documents with replacement, the same ones for all columns.

    Intervals are percentiles; the p-value is the share of draws, centred on the observed
    difference, that are at least as far from it as zero is, plus one (Davison & Hinkley 1997,
    Bootstrap Methods and their Application, section 4.4).

    Args:
        values: The metric, shape (documents, columns).
        reference: Column that the others are compared with.
        higher_is_better: Whether large values are good.
        draws: Number of draws.

    Raises:
        ValueError: There are fewer than two documents.
    """
    documents, columns = values.shape
    if documents < 2:
        raise ValueError(f"expected at least 2 documents, got {documents}")
    generator = np.random.default_rng(SEED)
    # how often each document is drawn, the same for all columns; some draws at a time
    equal = np.full(documents, 1 / documents)
    means = np.concatenate(
        [
            generator.multinomial(documents, equal, size=min(_AT_ONCE, draws - start)) @ values
            for start in range(0, draws, _AT_ONCE)
        ]
    )
    means /= documents  # (draws, columns)
    observed = values.mean(axis=0)
    low, high, p_value = _differences(means, observed, reference)
    sign = 1.0 if higher_is_better else -1.0
    # argmax takes the first of equals: the smaller boundary; rounding must not break ties
    winners = np.round(sign * means, 12).argmax(axis=1)
    best = int(np.round(sign * observed, 12).argmax())
    _, _, to_best = _differences(means, observed, best)
    return Paired(
        low,
        high,
        p_value,
        np.bincount(winners, minlength=columns) / draws,
        (to_best > 0.05) | (np.arange(columns) == best),
    )


def _differences(means: Array, observed: Array, reference: int) -> tuple[Array, Array, Array]:
    """Return interval and p-value of the differences to a column."""
    drawn = means - means[:, [reference]]
    difference = observed - observed[reference]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    far = np.abs(drawn - difference) >= np.abs(difference) - 1e-12
    return low, high, (1 + far.sum(axis=0)) / (1 + len(drawn))
