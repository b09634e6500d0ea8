"""What a section found, as rows of a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One thing that was measured.

    Attributes:
        what: What it is.
        value: What was found: a number, or a short sentence if there is none.
        unit: Its unit; "" for a count or a ratio.
        target: What was hoped for; "" for nothing.
        reached: Whether it was reached; None if there is no target.
    """

    what: str
    value: float | int | str
    unit: str = ""
    target: str = ""
    reached: bool | None = None

    @property
    def verdict(self) -> str:
        """``pass``, ``miss``, or nothing where there is no target."""
        return {True: "pass", False: "miss", None: ""}[self.reached]

    @property
    def shown(self) -> str:
        """The value with its unit."""
        value = self.value
        if isinstance(value, float):
            value = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
        return f"{value} {self.unit}".strip()


def at_most(what: str, value: float, most: float, unit: str = "") -> Row:
    """Return a row whose value should not be above ``most``."""
    return Row(what, value, unit, f"≤ {most:g} {unit}".strip(), value <= most)


def at_least(what: str, value: float, least: float, unit: str = "") -> Row:
    """Return a row whose value should not be below ``least``."""
    return Row(what, value, unit, f"≥ {least:g} {unit}".strip(), value >= least)


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as JSON; :func:`from_json` reads them."""
    return [asdict(row) for row in rows]


def from_json(rows: Sequence[dict[str, Any]]) -> list[Row]:
    """Return the rows that :func:`as_json` wrote."""
    return [Row(**row) for row in rows]


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| what | found | target | |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.shown} | {row.target} | {row.verdict} |" for row in rows]
    return "\n".join(lines)
