"""What to do with an adapter after a sweep: one rule for report, terminal and ``--save``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEVEL = 0.05


@dataclass(frozen=True)
class Advice:
    """Which boundary to use.

    Attributes:
        boundary: The boundary.
        reason: Why it is not the best one of the sweep; None if it is.
    """

    boundary: int
    reason: str | None


def refuted(delta_full: float | None, p_value: float | None, *, higher_is_better: bool) -> bool:
    """Tell whether a choice is significantly worse than the whole adapter.

    Args:
        delta_full: Its difference to the whole adapter, on documents that it was not chosen by.
        p_value: Of no such difference.
        higher_is_better: Which way is better.
    """
    if delta_full is None or p_value is None or p_value >= LEVEL:
        return False
    return delta_full != 0 and (delta_full < 0) == higher_is_better


def advise(found: Mapping[str, Any], full: int) -> Advice:
    """Return which boundary to use.

    Args:
        found: What ``sweep.json`` says about a task.
        full: The boundary that keeps the whole adapter.
    """
    best, test = found["best"], found["test"]
    if found.get("not_chosen"):
        return Advice(full, found["not_chosen"])
    for row in test["boundaries"] if test else ():
        if row["boundary"] == best and refuted(
            row["delta_full"], row["p_value"], higher_is_better=found["higher_is_better"]
        ):
            return Advice(
                full,
                f"boundary {best}, the best on the {found['split']} split, is significantly worse "
                f"than the whole adapter on the {test['split']} split "
                f"({row['delta_full']:+.4g}, p = {row['p_value']:.2g})",
            )
    return Advice(best, None)
