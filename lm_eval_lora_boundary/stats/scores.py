"""A metric under several cuts.

A cut is known by its name: an integer if it is a boundary, else its notation.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from .statistic import Statistic, scale
from .units import Units

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
        clusters: What each document belongs to; None if all stand alone.
    """

    cuts: Sequence[Name]
    values: Sequence[float]
    statistic: Statistic | None
    higher_is_better: bool
    metric: str = "the metric"
    clusters: Sequence[Hashable] | None = None

    @property
    def sign(self) -> int:
        """1 if large values are good, -1 if small ones are."""
        return 1 if self.higher_is_better else -1

    @property
    def units(self) -> Units | None:
        """What can be drawn; None without a statistic."""
        return None if self.statistic is None else Units(self.statistic.documents, self.clusters)

    @property
    def scale(self) -> float:
        """How much one document can lose, in the unit of the metric."""
        if self.statistic is not None and self.statistic.values is not None:
            return scale(self.statistic.values)
        return max((abs(value) for value in self.values if math.isfinite(value)), default=1.0)

    def take(self, cuts: Sequence[Name]) -> Scores:
        """Return the same for some of the cuts, in this order."""
        places = [list(self.cuts).index(cut) for cut in cuts]
        return replace(
            self,
            cuts=cuts,
            values=[self.values[place] for place in places],
            statistic=None if self.statistic is None else self.statistic.take(places),
        )
