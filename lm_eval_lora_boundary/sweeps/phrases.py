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


def answer(
    split: Split,
    sentence: str,
    value: float | None = None,
    ends: tuple[float | None, float | None] = (None, None),
    p: float | None = None,
    *,
    shown: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """Return an answer: its sentence, and its number with interval and p-value."""
    return {
        "sentence": plain(sentence),
        "shown": shown,
        "documents": split.documents,
        "value": value,
        "ci_low": ends[0],
        "ci_high": ends[1],
        "p_value": p,
        **more,
    }


def plain(sentence: str) -> str:
    """Return a sentence with ordinary spaces, for files and terminals."""
    sentence = sentence.replace("\u00a0", " ")
    return f"{sentence[:1].upper()}{sentence[1:]}"
