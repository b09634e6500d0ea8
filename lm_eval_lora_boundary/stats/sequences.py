"""Several tests of keeping the gain: in a fixed order, or corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bootstrap import holm
from .noninferiority import ALPHA
from .scores import Name


def fixed_sequence(p_values: Sequence[float], alpha: float = ALPHA) -> int:
    """Return how many hypotheses are rejected if they are tested in order until the first fails.

    Each is tested at the full level, and the probability of any false rejection stays below it,
    because the order was fixed before the data were seen (Maurer, Hothorn & Lehmacher 1995, in
    "Testing Principles in Clinical and Preclinical Trials", 3-18).
    """
    failed = (i for i, p_value in enumerate(p_values) if not p_value <= alpha)
    return next(failed, len(p_values))


@dataclass(frozen=True)
class Order:
    """Cuts that are tested together.

    Attributes:
        cuts: Their names. If they are nested, they go from the largest to the smallest.
        nested: Whether the order was fixed before the documents were seen.
    """

    cuts: Sequence[Name]
    nested: bool


@dataclass(frozen=True)
class Keeping:
    """Which cuts are shown to keep the gain.

    Attributes:
        cuts: Their names, from the smallest to the largest.
        level: The level of each test.
        stopped_at: The cut at which the tests of the first order ended without showing it; None if
            all passed.
    """

    cuts: list[Name]
    level: float
    stopped_at: Name | None


def keeping(
    names: Sequence[Name],
    p_values: Sequence[float | None],
    orders: Sequence[Order],
    alpha: float = ALPHA,
) -> Keeping:
    """Return which cuts are shown to keep the gain.

    Nested cuts are tested from the largest down, until the first fails. Others are corrected by
    Holm's method. With several orders, each has an equal part of the level (Bonferroni).

    Args:
        names: All cuts, from the smallest to the largest.
        p_values: Of the hypotheses that they lose too much; None where one was not tested.
        orders: The cuts to test.
        alpha: The level, one-sided.
    """
    known = dict(zip(names, p_values, strict=True))
    level = alpha / max(len(orders), 1)
    shown: set[Name] = set()
    stopped: list[Name | None] = []
    for order in orders:
        found = [known.get(name) for name in order.cuts]
        tested = [1.0 if p_value is None else p_value for p_value in found]
        if order.nested:
            number = fixed_sequence(tested, level)
            passed = list(order.cuts[:number])
            failed = list(order.cuts[number:])
        else:
            corrected = holm(np.array(tested)).tolist()
            ranked = sorted(zip(corrected, order.cuts, strict=True), key=lambda pair: pair[0])
            passed = [name for p_value, name in ranked if p_value <= level]
            failed = [name for p_value, name in ranked if p_value > level]
        shown.update(passed)
        stopped.append(failed[0] if failed else None)
    return Keeping([n for n in names if n in shown], level, stopped[0] if stopped else None)
