"""The best cut, how sure that is, and the smallest boundary that is not significantly worse.

A cut is known by its name: an integer if it is a boundary, else its notation. In all functions,
``full`` is the boundary that keeps the whole adapter, and ``base`` the one that keeps none of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import TaskError
from .aggregates import Array
from .bootstrap import Bootstrap, Difference, bootstrap, holm
from .permutation import LEVEL
from .statistic import Statistic

# the statistics of a row, by the attribute of `Difference` that holds each
_TO_FULL = {
    "ci_low": "low",
    "ci_high": "high",
    "p_value": "p_value",
    "simultaneous_low": "simultaneous_low",
    "simultaneous_high": "simultaneous_high",
    "loss_risk": "loss_risk",
}
_TO_BASE = {"base_ci_low": "low", "base_ci_high": "high", "base_p_value": "p_value"}
# what a boundary's row says besides its value; None where it is not available
STATISTICS = (
    *("delta_full", "ci_low", "ci_high", "p_value", "p_holm"),
    *("simultaneous_low", "simultaneous_high", "loss_risk"),
    *("delta_base", "base_ci_low", "base_ci_high", "base_p_value", "win_rate"),
)

Row = dict[str, Any]
Name = int | str


@dataclass(frozen=True)
class Scores:
    """A metric of a task under several cuts, over the same documents.

    Attributes:
        cuts: The names of the cuts, from the smallest to the largest; boundaries ascend.
        values: The metric under each of them; NaN or infinite where it could not be computed.
        statistic: The same in a form that can be resampled, with columns in the order of the
            cuts; None if that is not possible.
        higher_is_better: Whether large values are good.
        metric: What to call it.
    """

    cuts: Sequence[Name]
    values: Sequence[float]
    statistic: Statistic | None
    higher_is_better: bool
    metric: str = "the metric"

    @property
    def sign(self) -> int:
        """1 if large values are good, -1 if small ones are."""
        return 1 if self.higher_is_better else -1

    def take(self, cuts: Sequence[Name]) -> Scores:
        """Return the same for some of the cuts, in this order."""
        places = [list(self.cuts).index(cut) for cut in cuts]
        return replace(
            self,
            cuts=cuts,
            values=[self.values[place] for place in places],
            statistic=None if self.statistic is None else self.statistic.take(places),
        )


@dataclass(frozen=True)
class Selection:
    """The best cut, and how sure that is.

    Attributes:
        rows: For each cut, in order, the keys ``STATISTICS``.
        best: The best cut, the smallest in a tie.
        smallest_equivalent: The smallest boundary that the best is not significantly better than
            (at 5 %, one at a time); None where statistics are not available.
        collapse: The highest boundary up to which all scored boundaries, from 0 on, are
            significantly worse than the whole adapter (after Holm); None if there is none.
        optimism: How much better the best looks than it is, because it was chosen and judged on
            the same documents: ``value``, never negative; the ``corrected`` value of the best; and
            the ``p_value`` of its difference to the whole adapter, corrected for the choice.
    """

    rows: list[Row]
    best: Name
    smallest_equivalent: int | None
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
        """Return the column of a cut; None if it has none."""
        return next((i for i, each in enumerate(self.places) if each == place), None)


def select(scores: Scores, full: int, base: int = -1) -> Selection:
    """Find the best cut.

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
    rows = _rows(scores, resampled, full, base)
    collapse = _collapse(scores, rows)
    column = None if resampled is None else resampled.column(best)
    if resampled is None or column is None:
        return Selection(rows, cuts[best], None, collapse, None)
    not_worse = (cuts[place] for place in resampled.places[resampled.bootstrap.not_worse()])
    smallest = min((cut for cut in not_worse if isinstance(cut, int)), default=None)
    optimism = _optimism(scores, resampled, full, column)
    return Selection(rows, cuts[best], smallest, collapse, optimism)


def describe(scores: Scores, full: Name, base: Name = -1) -> list[Row]:
    """Return the statistics of each cut, in order, without choosing one.

    ``full`` and ``base`` may be any cuts to compare the others with.
    """
    return _rows(scores, _resample(scores), full, base)


def _resample(scores: Scores) -> _Resampled | None:
    """Resample the documents; return None where that is not possible."""
    finite = np.flatnonzero(np.isfinite(scores.values))
    if scores.statistic is None or not len(finite):
        return None
    some = len(finite) < len(scores.values)
    drawn = bootstrap(
        scores.statistic.take(finite.tolist()) if some else scores.statistic,
        higher_is_better=scores.higher_is_better,
    )
    if drawn is None:
        return None
    # a metric that is undefined in some draws has no interval
    defined = np.flatnonzero(np.isfinite(drawn.draws).all(axis=0))
    if not len(defined):
        return None
    if len(defined) < len(finite):
        drawn = drawn.take(defined.tolist())
    return _Resampled(drawn, finite[defined])


def _rows(scores: Scores, resampled: _Resampled | None, full: Name, base: Name) -> list[Row]:
    columns = {name: np.full(len(scores.cuts), np.nan) for name in STATISTICS}
    columns["delta_full"] = _delta(scores, full)
    columns["delta_base"] = _delta(scores, base)
    if resampled is not None:
        places = resampled.places
        columns["win_rate"][places] = resampled.bootstrap.win_rate()
        for reference, names in ((full, _TO_FULL), (base, _TO_BASE)):
            difference = _difference(scores, resampled, reference)
            if difference is not None:
                for name, attribute in names.items():
                    columns[name][places] = getattr(difference, attribute)
        columns["p_holm"] = _corrected(scores, columns["p_value"], full)
    return [
        {
            name: float(column[i]) if math.isfinite(column[i]) else None
            for name, column in columns.items()
        }
        for i in range(len(scores.cuts))
    ]


def _delta(scores: Scores, reference: Name) -> Array:
    """Return differences to a cut; NaN where one is not available."""
    values = np.where(np.isfinite(scores.values), scores.values, np.nan)
    at = [i for i, cut in enumerate(scores.cuts) if cut == reference]
    return values - (values[at[0]] if at else np.nan)


def _corrected(scores: Scores, p_values: Array, full: Name) -> Array:
    """Return p-values corrected for their number; the whole adapter's own is 1."""
    corrected = np.where(np.isfinite(p_values), 1.0, np.nan)
    others = np.isfinite(p_values) & np.array([cut != full for cut in scores.cuts])
    corrected[others] = holm(p_values[others])
    return corrected


def _difference(scores: Scores, resampled: _Resampled, reference: Name) -> Difference | None:
    """Return the differences to a cut; None if it was not resampled."""
    if reference not in scores.cuts:
        return None
    column = resampled.column(list(scores.cuts).index(reference))
    return None if column is None else resampled.bootstrap.difference(column)


def _collapse(scores: Scores, rows: Sequence[Row]) -> int | None:
    """Return the highest boundary up to which all scored ones are significantly worse."""
    highest = None
    for boundary, row in zip(scores.cuts, rows, strict=True):
        if not isinstance(boundary, int) or boundary < 0:
            continue
        p_value = row["p_holm"]
        if p_value is None or p_value > 1 - LEVEL or scores.sign * row["delta_full"] >= 0:
            break
        highest = boundary
    return highest


def _optimism(
    scores: Scores, resampled: _Resampled, full: int, best: int
) -> dict[str, float | None]:
    value = resampled.bootstrap.optimism()
    difference = _difference(scores, resampled, full)
    return {
        "value": value,
        "corrected": scores.values[resampled.places[best]] - scores.sign * value,
        "p_value": None if difference is None else float(difference.p_simultaneous[best]),
    }
