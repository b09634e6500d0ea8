"""What a sweep found about a task: what the four questions are answered from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from ..report.formatting import count, limits, spread
from ..stats.margin import Margin
from ..stats.permutation import LEVEL
from ..stats.power import detectable, documents_to_keep, ends_of_detectable
from ..stats.scores import Name

Row = Mapping[str, Any]

BASE = -1
_ALPHA = 1 - LEVEL


@dataclass(frozen=True)
class Split:
    """The documents of a split, and the statistics of cuts on them.

    Attributes:
        name: Name of the split.
        documents: Number of documents.
        units: Number of documents, or of clusters of them, that were drawn.
        rows: Statistics by cut.
    """

    name: str
    documents: int
    units: int
    rows: Mapping[Name, Row]

    @property
    def counted(self) -> str:
        """The documents in words."""
        return count(self.documents, self.name)


@dataclass(frozen=True)
class Found:
    """What a sweep found about a task.

    Attributes:
        metric: What to call the metric.
        sign: 1 if large values are good, -1 if small ones are.
        margin: How much of the gain a cut may lose.
        full: The boundary that keeps the whole adapter.
        chosen_on: The split that was chosen on.
        tested_on: The split that the choice was scored on again; None if there is none.
        best: The cut with the best value.
        keeping: The cuts shown to keep the gain, from the smallest to the largest: on the split
            that was tested on, or else on the one that was chosen on.
        tested: What was tested for it on the split that was tested on, from the largest to the
            smallest.
        stopped_at: The cut at which the tests on the split that was chosen on ended.
        dropped: Whether that cut was dropped by a race.
        level: The level of each test on the split that was chosen on.
        orders: Number of families that were tested.
        cuts: Number of cuts, also those that a race dropped.
        raced: Whether a race dropped some.
        scale: How much one document can lose: 1 for values between 0 and 1.
    """

    metric: str
    sign: int
    margin: Margin
    full: int
    chosen_on: Split
    tested_on: Split | None
    best: Name
    keeping: Sequence[Name]
    tested: Sequence[Name]
    stopped_at: Name | None
    dropped: bool
    level: float
    orders: int
    cuts: int
    raced: bool
    scale: float

    @property
    def judge(self) -> Split:
        """The split that answers."""
        return self.tested_on or self.chosen_on

    @property
    def gain(self) -> float | None:
        """How much better the whole adapter is than the base model; None if that is not shown."""
        base = self.judge.rows.get(BASE)
        if base is None or base["p_value"] is None or base["p_value"] > _ALPHA:
            return None
        gain: float = -self.sign * base["delta_full"]
        return gain if gain > 0 else None

    @property
    def loss(self) -> float | None:
        """How much a cut may lose, in the unit of the metric; None if that is not known."""
        if not self.margin.is_share:
            return self.margin.value
        return None if self.gain is None else self.margin.value * self.gain

    @property
    def possible(self) -> tuple[float, float] | None:
        """The smallest and the largest possible difference, for display; None if not known."""
        values = [row["value"] for row in self.judge.rows.values()]
        return spread(limits(self.metric, values, self.scale))

    @cached_property
    def typical(self) -> Row | None:
        """The row of the cut that the questions are about, or of one like it."""
        rows = self.judge.rows
        others = {name: row for name, row in rows.items() if name not in (self.full, BASE)}
        for name in (*self.keeping[:1], *self.tested[-1:], self.best):
            if name in others:
                return others[name]
        known = [row for row in others.values() if row["delta_full_stderr"] is not None]
        # what is clearly worse than the whole adapter disagrees with it more often than others do
        alike = [row for row in known if (row["p_simultaneous"] or 0) > _ALPHA]
        if not known:
            return rows.get(BASE)
        middle = median(row["delta_full_stderr"] for row in alike or known)
        return min(alike or known, key=lambda row: abs(row["delta_full_stderr"] - middle))

    @property
    def seen(self) -> float | None:
        """The difference from the whole adapter that would be seen 4 times in 5."""
        row = self.typical
        if row is None or row["delta_full_stderr"] is None:
            return None
        units = self.judge.units
        return detectable(units, row["delta_full_stderr"] * units**0.5, self.scale)

    @property
    def seen_ends(self) -> tuple[float | None, float | None]:
        """How far ``seen`` may be off, because the disagreement that was seen may be off."""
        row, units = self.typical, self.judge.units
        if row is None or self.seen is None or row["spread"] is None:
            return None, None
        spread = row["spread"] * (units / self.judge.documents) ** 0.5
        return ends_of_detectable(units, spread, row["differing"] or 0.0, self.scale)

    @cached_property
    def documents_needed(self) -> int | None:
        """How many documents would show, 4 times in 5, that an equal cut keeps the gain."""
        row, base, loss = self.typical, self.judge.rows.get(BASE), self.loss
        if row is None or loss is None or row["spread"] is None:
            return None
        variance = row["spread"] ** 2
        if self.margin.is_share:
            if base is None or base["spread"] is None:
                return None
            variance += (self.margin.value * base["spread"]) ** 2
        # of documents that belong together, as many more
        size = self.judge.documents / self.judge.units
        spread = (variance / size) ** 0.5
        level = self.level if self.tested_on is None else _ALPHA
        return round(documents_to_keep(loss, spread, self.scale, level) * size)
