"""Races on made-up scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lm_eval_lora_boundary.stats.aggregates import Array
from lm_eval_lora_boundary.stats.betting import Bets
from lm_eval_lora_boundary.stats.race import Race


def run(matrix: Array, *, boundaries: Sequence[int] | None = None, **options: Any) -> Race:
    """Run a race on a matrix of shape (documents, boundaries) until it is done."""
    boundaries = boundaries or range(matrix.shape[1])
    race = Race(boundaries, len(matrix), **options)
    columns = dict(zip(boundaries, matrix[race.order].T, strict=True))
    for documents in race.rounds:
        race.update({boundary: columns[boundary][:documents] for boundary in race.live})
        if race.done:
            break
    return race


def evaluations(race: Race) -> int:
    """Return how many evaluations of one document under one boundary a finished race took."""
    decided = len(race.live) == 1 and race.dropped
    seen = race.dropped[-1].documents if decided else race.rounds[-1]
    return sum(dropped.documents for dropped in race.dropped) + len(race.live) * seen


def correlated(documents: int, shifts: Sequence[float], seed: int) -> Array:
    """Return 0/1 scores of boundaries that agree on most documents."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=(documents, 1)) + 0.3 * rng.normal(size=(documents, len(shifts)))
    return (difficulty < np.array(shifts)).astype(np.float64)


def tied(boundaries: int) -> Array:
    """Return 0/1 scores with the same mean for every boundary, but on different documents."""
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation([1.0, 0.0] * 30) for _ in range(boundaries)], axis=1)


def evidence(values: Array, documents: int, limits: Array) -> Array:
    """Return the evidence against each boundary after some of the documents."""
    bets = Bets(values.shape[1], documents)
    bets.play(values, limits)
    return bets.evidence
