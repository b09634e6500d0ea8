"""Turn the readings of documents into curves over layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .gradient import Gradient
from .layer_map import Measured
from .reader import Reading

Array = npt.NDArray[np.float64]


_DIGITS = 6


def whole_answers(readings: Sequence[Reading]) -> Array:
    """Return each document's mean probability of a gold token, ``(documents, layers)``."""
    return np.stack([reading.probability.mean(axis=1) for reading in readings])


def first_tokens(readings: Sequence[Reading]) -> Array:
    """Return each document's probability of the first gold token, ``(documents, layers)``."""
    return np.stack([reading.probability[:, 0] for reading in readings])


def layer_rows(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """Return a row of statistics over documents for every layer.

    ``mean``, ``median``, ``q25`` and ``q75`` are those of :func:`whole_answers`; with the prefix
    ``first_``, of :func:`first_tokens`. ``logprob_mean`` is the mean over documents of the mean
    log-probability of a gold token (natural logarithm). ``rank_median`` is the median over
    documents of the median rank of a gold token; rank 0 is the most likely token.
    """
    logprobs = np.stack([reading.logprob.mean(axis=1) for reading in readings])
    ranks = np.stack([np.median(reading.rank, axis=1) for reading in readings])
    columns = {
        **_quartiles("", whole_answers(readings)),
        **_quartiles("first_", first_tokens(readings)),
        "logprob_mean": logprobs.mean(axis=0),
        "rank_median": np.median(ranks, axis=0),
    }
    return [
        {"layer": layer} | {name: float(values[layer]) for name, values in columns.items()}
        for layer in range(logprobs.shape[1])
    ]


def document_row(reading: Reading) -> dict[str, Any]:
    """Return a reading as JSON: per layer and token, to six significant digits."""
    return {
        "probability": _rounded(reading.probability),
        "logprob": _rounded(reading.logprob),
        "rank": reading.rank.tolist(),
    }


def gradient_row(gradient: Gradient, measured: Measured | None, document: int) -> dict[str, Any]:
    """Return the gradient of a document as JSON, and what was measured of it.

    Args:
        gradient: Its gradient.
        measured: What was measured of all documents; None if nothing was.
        document: The index of the document there.
    """
    row: dict[str, Any] = {
        "logprob": _rounded([gradient.logprob])[0],
        "derivative": _rounded(gradient.derivative),
    }
    if measured is not None:
        without, upper = _rounded([measured.without[document], measured.upper[document]])
        row["measured"] = {"without": without, "upper": upper}
    return row


def median_document(readings: Sequence[Reading]) -> int:
    """Return the index of the document with the (lower) median probability at the last layer."""
    last = whole_answers(readings)[:, -1]
    return int(np.argsort(last, kind="stable")[(len(last) - 1) // 2])


def _quartiles(prefix: str, values: Array) -> dict[str, Array]:
    q25, median, q75 = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    named = {"mean": values.mean(axis=0), "median": median, "q25": q25, "q75": q75}
    return {f"{prefix}{name}": column for name, column in named.items()}


def _rounded(values: Iterable[Array]) -> list[list[float]]:
    return [[float(f"{value:.{_DIGITS}g}") for value in row] for row in values]
