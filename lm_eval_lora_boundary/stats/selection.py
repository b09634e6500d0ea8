"""The statistics of every cut, and the best cut.

In all functions, ``full`` is the boundary that keeps the whole adapter, and ``base`` the one that
keeps none of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import TaskError
from .aggregates import Array
from .bootstrap import Bootstrap, Difference, bootstrap
from .halves import split_halves
from .margin import Margin
from .noninferiority import kept
from .permutation import LEVEL
from .scores import Name, Scores
from .sequences import fixed_sequence

# the statistics of a row, by the attribute of `Difference` that holds each
_TO_FULL = {
    "ci_low": "low",
    "ci_high": "high",
    "p_value": "p_value",
    "simultaneous_low": "simultaneous_low",
    "simultaneous_high": "simultaneous_high",
    "p_simultaneous": "p_simultaneous",
    "delta_full_stderr": "stderr",
    "differing": "differing",
    "spread": "spread",
}
# the base model is compared with every cut, so its intervals hold for all of them at once
_TO_BASE = {
    "base_ci_low": "simultaneous_low",
    "base_ci_high": "simultaneous_high",
    "base_p_simultaneous": "p_simultaneous",
}
_KEPT = {
    "gain_kept": "share",
    "gain_kept_low": "low",
    "gain_kept_high": "high",
    "difference_low": "difference_low",
    "difference_high": "difference_high",
    "p_noninferior": "p_value",
}
# what a boundary's row says besides its value; None where it is not available
STATISTICS = (
    *("value_low", "value_high", "delta_full", *_TO_FULL),
    *("delta_base", *_TO_BASE, *_KEPT, "selection_share"),
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Selection:
    """The best cut, and how sure that is.

    Attributes:
        rows: For each cut, in order, the keys ``STATISTICS``.
        best: The best cut, the smallest in a tie.
        collapse: The highest boundary up to which all scored boundaries, from 0 on, are
            significantly worse than the whole adapter, tested in this order until one is not; None
            if there is none.
        optimism: How much better the best looks than it is, because it was chosen and judged on
            the same documents: ``value``, never negative; the ``corrected`` value of the best; and
            the ``p_value`` of its difference to the whole adapter, corrected for the choice.
    """

    rows: list[Row]
    best: Name
    collapse: int | None
    optimism: dict[str, float | None] | None


@dataclass(frozen=True)
class _Resampled:
    """Resampled documents under the cuts with a finite value.

    Attributes:
        bootstrap: The draws; a column for each of these cuts.
        places: The place of each column's cut among all.
    """

    bootstrap: Bootstrap
    places: npt.NDArray[np.int64]

    def column(self, place: int) -> int | None:
        """Return the column of a cut, given by its place; None if it was not resampled."""
        found = np.flatnonzero(self.places == place)
        return int(found[0]) if len(found) else None


def select(scores: Scores, full: int, margin: Margin | None = None, base: int = -1) -> Selection:
    """Choose the best cut.

    Raises:
        TaskError: No cut has a finite value.
    """
    cuts, values = scores.cuts, scores.values
    finite = [i for i, value in enumerate(values) if math.isfinite(value)]
    if not finite:
        raise TaskError(
            f"{scores.metric} is {', '.join(dict.fromkeys(map(str, values)))} under every cut, so "
            "none can be chosen; expected numbers: choose by another metric (--metric), or look "
            "at the answers"
        )
    # max takes the first of equals: the smallest cut
    best = max(finite, key=lambda i: scores.sign * values[i])
    resampled = _resample(scores)
    rows = _rows(scores, resampled, full, base, margin)
    optimism = None
    if resampled is not None and resampled.column(best) is not None:
        halves = split_halves(
            resampled.bootstrap.statistic,
            resampled.bootstrap.units,
            higher_is_better=scores.higher_is_better,
        )
        assert halves is not None  # there were enough documents to resample
        for place, share in zip(resampled.places.tolist(), halves.selected.tolist(), strict=True):
            rows[place]["selection_share"] = share
        optimism = {
            "value": halves.optimism,
            "corrected": values[best] - scores.sign * halves.optimism,
            "p_value": rows[best]["p_simultaneous"],
        }
    return Selection(rows, cuts[best], _collapse(scores, rows), optimism)


def describe(
    scores: Scores, full: Name, base: Name = -1, margin: Margin | None = None
) -> list[Row]:
    """Return the statistics of each cut, in order, without choosing one.

    ``full`` and ``base`` may be any cuts to compare the others with. Without a margin, it is not
    tested whether cuts keep the gain.
    """
    return _rows(scores, _resample(scores), full, base, margin)


def _resample(scores: Scores) -> _Resampled | None:
    """Resample the documents; return None where that is not possible."""
    finite = np.flatnonzero(np.isfinite(scores.values))
    if scores.statistic is None or not len(finite):
        return None
    some = len(finite) < len(scores.values)
    statistic = scores.statistic.take(finite.tolist()) if some else scores.statistic
    drawn = bootstrap(statistic, scores.units)
    if drawn is None:
        return None
    # a metric that is undefined in some draws has no interval
    defined = np.flatnonzero(np.isfinite(drawn.draws).all(axis=0))
    if not len(defined):
        return None
    if len(defined) < len(finite):
        drawn = drawn.take(defined.tolist())
    return _Resampled(drawn, finite[defined])


def _rows(
    scores: Scores, resampled: _Resampled | None, full: Name, base: Name, margin: Margin | None
) -> list[Row]:
    columns = {name: np.full(len(scores.cuts), np.nan) for name in STATISTICS}
    columns["delta_full"] = _delta(scores, full)
    columns["delta_base"] = _delta(scores, base)
    if resampled is not None:
        places = resampled.places
        columns["value_low"][places], columns["value_high"][places] = resampled.bootstrap.interval()
        for reference, names in ((full, _TO_FULL), (base, _TO_BASE)):
            difference = _difference(scores, resampled, reference)
            if difference is not None:
                for name, attribute in names.items():
                    columns[name][places] = getattr(difference, attribute)
        ends = [_column(scores, resampled, end) for end in (full, base)]
        others = [i for i in range(len(places)) if i != ends[0]]
        testable = ends[0] is not None and (ends[1] is not None or not _is_share(margin))
        if margin is not None and ends[0] is not None and testable and others:
            tested = kept(
                resampled.bootstrap,
                ends[0],
                ends[1],
                others,
                margin,
                higher_is_better=scores.higher_is_better,
            )
            for name, attribute in _KEPT.items():
                columns[name][places[others]] = getattr(tested, attribute)
    return [
        {
            name: float(column[i]) if math.isfinite(column[i]) else None
            for name, column in columns.items()
        }
        for i in range(len(scores.cuts))
    ]


def _is_share(margin: Margin | None) -> bool:
    return margin is not None and margin.is_share


def _delta(scores: Scores, reference: Name) -> Array:
    """Return differences to a cut; NaN where one is not available."""
    values = np.where(np.isfinite(scores.values), scores.values, np.nan)
    at = [i for i, cut in enumerate(scores.cuts) if cut == reference]
    return values - (values[at[0]] if at else np.nan)


def _column(scores: Scores, resampled: _Resampled, name: Name) -> int | None:
    """Return the column of a cut; None if it was not scored or not resampled."""
    if name not in scores.cuts:
        return None
    return resampled.column(list(scores.cuts).index(name))


def _difference(scores: Scores, resampled: _Resampled, reference: Name) -> Difference | None:
    """Return the differences to a cut; None if it was not resampled."""
    column = _column(scores, resampled, reference)
    return None if column is None else resampled.bootstrap.difference(column)


def _collapse(scores: Scores, rows: Sequence[Row]) -> int | None:
    """Return the highest boundary up to which all scored ones are significantly worse.

    The order is fixed, so that each is tested at the full level (see :func:`.fixed_sequence`).
    """
    boundaries = [
        (name, row)
        for name, row in zip(scores.cuts, rows, strict=True)
        if isinstance(name, int) and name >= 0
    ]
    worse = [
        row["p_value"]
        if row["p_value"] is not None and scores.sign * row["delta_full"] < 0
        else 1.0
        for _, row in boundaries
    ]
    number = fixed_sequence(worse, 1 - LEVEL)
    return boundaries[number - 1][0] if number else None
