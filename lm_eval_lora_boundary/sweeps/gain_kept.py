"""The answer to the third question: the smallest cut that keeps what the adapter gained."""

from __future__ import annotations

from typing import Any

from ..report.formatting import interval, signed
from ..stats.noninferiority import ALPHA
from ..stats.scores import Name
from .found import Found, Row, Split
from .phrases import answer, kept, the

_NOT_TESTED = "whether a smaller cut keeps the gain cannot be tested here."


def keeps(found: Found) -> dict[str, Any]:
    """Say which cut is shown to keep the gain, or at which one the tests ended."""
    judge = found.judge
    if found.margin.is_share and found.gain is None:
        sentence = (
            f"Not shown with {judge.counted}: a share of the gain means nothing as long as no gain "
            "is shown."
        )
        return _answer(found, judge, sentence)
    if found.keeping:
        name = found.keeping[0]
        row = judge.rows[name]
        sentence = (
            f"{the(name, found.full, start=True)} keeps {_allowed(found)}: {_number(found, row)}, "
            f"on {judge.counted}."
        )
        return _answer(found, judge, sentence, row, name)
    if found.tested_on is not None and found.tested:
        largest = found.tested[0]
        again = judge.rows.get(largest)
        if again is None or again["p_noninferior"] is None:
            return _answer(found, judge, _NOT_TESTED)
        sentence = (
            f"Not shown with {judge.counted}: {the(largest, found.full)}, which "
            f"{found.chosen_on.counted} show to keep {_allowed(found)}, "
            f"{_says(found, again)}{_needed(found, again)}."
        )
        return _answer(found, judge, sentence, again)
    return _none_found(found)


def _none_found(found: Found) -> dict[str, Any]:
    """Say where the tests ended on the documents that were chosen on."""
    split, name = found.chosen_on, found.stopped_at
    if name is None:
        return _answer(found, split, "no smaller cut was scored.")
    cut = the(name, found.full)
    if found.dropped:
        sentence = (
            f"Not shown with {split.counted}: a race dropped {cut}, and that ends the search from "
            "the whole adapter down."
        )
        return _answer(found, split, sentence)
    row = split.rows.get(name)
    if row is None or row["p_noninferior"] is None:
        return _answer(found, split, _NOT_TESTED)
    among = (
        f" at {100 * found.level:.2g} %, for {found.orders} families," if found.orders > 1 else ""
    )
    sentence = (
        f"Not shown with {split.counted}: {cut} is the first that is not shown{among} to keep "
        f"{_allowed(found)}; it {_says(found, row)}{_needed(found, row)}."
    )
    return _answer(found, split, sentence, row)


def _answer(
    found: Found, split: Split, sentence: str, row: Row | None = None, cut: Name | None = None
) -> dict[str, Any]:
    """Return an answer about some documents; the cut is the one shown to keep the gain."""
    keys = ("gain_kept", "gain_kept_low", "gain_kept_high")
    if not found.margin.is_share:
        keys = ("delta_full", "difference_low", "difference_high")
    value, low, high = (None if row is None else row[key] for key in keys)
    return answer(
        split,
        sentence,
        value,
        (low, high),
        None if row is None else row["p_noninferior"],
        shown=cut is not None,
        cut=cut,
        documents_needed=found.documents_needed,
    )


def _allowed(found: Found) -> str:
    """Return what a cut must keep."""
    if found.margin.is_share:
        return f"at least {100 * (1 - found.margin.value):g} % of the gain"
    return f"all but {found.margin.value:g} of {found.metric}"


def _number(found: Found, row: Row) -> str:
    """Return how much a cut keeps or loses, with its interval."""
    if found.margin.is_share:
        return kept(row)
    ends = interval(row["difference_low"], row["difference_high"])
    difference = f"{signed(row['delta_full'])} {ends}".strip()
    return f"{difference} to the whole adapter"


def _says(found: Found, row: Row) -> str:
    """Return the same with a verb."""
    return f"{'keeps' if found.margin.is_share else 'scores'} {_number(found, row)}"


def _needed(found: Found, row: Row) -> str:
    """Return how many documents would be needed, if the cut looks as if it kept enough."""
    p_value, needed = row["p_noninferior"], found.documents_needed
    if needed is None or p_value is None or p_value > 0.5 or p_value <= ALPHA:
        return ""
    return f"; for an equal cut, about {needed:,} documents would be needed"
