"""The difference between two runs, and its test. Both depend on nothing but these two."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..stats.bootstrap import bootstrap
from .pairing import Pair
from .scored import is_binary, together, units

_BINARY = "McNemar"
_OTHER = "randomisation"


class NotTestableError(Exception):
    """Why a pair cannot be tested, although its documents are known; never shown as an error."""


@dataclass(frozen=True)
class PairedDifference:
    """The difference of a run from another on the documents that both answered.

    Attributes:
        documents: Number of common documents.
        value: The difference on these documents.
        low: Lower end of its 95 % interval; None if there is none.
        high: Upper end.
        p_value: Two-sided p-value for no difference.
        method: ``McNemar``, ``randomisation`` or ``stratified randomisation``.
    """

    documents: int
    value: float
    low: float | None
    high: float | None
    p_value: float
    method: str


def paired_difference(pair: Pair) -> PairedDifference:
    """Compare two runs on their common documents.

    Documents that belong together are drawn and swapped together.

    Raises:
        NotTestableError: The samples do not give lm-eval's values, there are fewer than two common
            documents, all of them belong together, or the metric is undefined on some samples of
            them or too slow.
    """
    runs = [pair.ours, pair.theirs]
    number = len(pair.documents)
    if number < 2:
        raise NotTestableError("a test needs at least 2 documents")
    both = together(runs, pair.documents)
    if both is None:
        raise NotTestableError("the samples do not reproduce the value")
    drawn = units(runs, pair.documents)
    if drawn.count < 2:
        raise NotTestableError(f"all {number} documents have the same {pair.cluster}")
    resampled = bootstrap(both, drawn)
    if resampled is None:
        raise NotTestableError("the aggregation function of the metric is too slow")
    # a metric that is undefined on some draws has no interval
    if not np.isfinite(resampled.draws).all():
        raise NotTestableError("the metric is undefined on some samples of the documents")
    found = resampled.difference(1)
    binary = drawn.of is None and all(is_binary(run.select(pair.documents)) for run in runs)
    return PairedDifference(
        documents=number,
        value=float(both.observed[0] - both.observed[1]),
        low=finite(found.low[0]),
        high=finite(found.high[0]),
        p_value=float(found.p_value[0]),
        method=_BINARY if binary else _OTHER,
    )


def finite(value: float) -> float | None:
    """Return a number as Python's own, and None for one that is not finite."""
    return float(value) if math.isfinite(value) else None
