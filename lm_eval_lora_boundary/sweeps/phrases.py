"""Cuts, differences and shares in words, for the sentences of ``sweep.json``."""

from __future__ import annotations

from typing import Any

from ..report.formatting import called, hundredths, interval, named, p_value, signed
from ..stats.scores import Name
from .found import BASE, Row, Split


def the(name: Name | None, full: int, *, start: bool = False) -> str:
    """Return a cut in words, for the middle or the start of a sentence."""
    if name is None:
        return "no cut"
    if isinstance(name, str):
        return f"{'The' if start else 'the'} cut {called(name)}"
    if name in (BASE, full):
        return f"{'The' if start else 'the'} {named(name, full)}"
    return f"{'Boundary' if start else 'boundary'} {name}"


def kept(row: Row) -> str:
    """Return how much of the gain a cut keeps, with its interval."""
    kept, low, high = (row[key] for key in ("gain_kept", "gain_kept_low", "gain_kept_high"))
    text = "an unknown share" if kept is None else f"{hundredths(kept)} of it"
    if low is None or high is None:
        return text
    return f"{text} [{hundredths(low)}, {hundredths(high)}]"


def compared(value: float, low: float | None, high: float | None, p: float | None) -> str:
    """Return a difference with its interval and p-value."""
    text = f"{signed(value)} {interval(low, high)}".strip()
    return text if p is None else f"{text}, {p_value(p)}"


def numbers(
    value: float | None = None,
    low: float | None = None,
    high: float | None = None,
    p: float | None = None,
) -> dict[str, float | None]:
    """Return the number of an answer, its interval and its p-value."""
    return {"value": value, "ci_low": low, "ci_high": high, "p_value": p}


def unknown(why: str, split: Split) -> dict[str, Any]:
    """Return an answer that could not be tested."""
    sentence = f"{why[:1].upper()}{why[1:]}."
    return {
        "sentence": sentence,
        "shown": False,
        "cut": None,
        "documents": split.documents,
        **numbers(),
    }


def plain(sentence: str) -> str:
    """Return a sentence with ordinary spaces, for files and terminals."""
    sentence = sentence.replace("\u00a0", " ")
    return f"{sentence[:1].upper()}{sentence[1:]}"
