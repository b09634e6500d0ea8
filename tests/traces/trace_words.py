"""The made-up words of the rows that traces are tested on."""

from __future__ import annotations

DOCUMENTS = 8


def words(count: int, start: int) -> str:
    return " ".join(f"w{(start + 7 * i) % 60}" for i in range(count))
