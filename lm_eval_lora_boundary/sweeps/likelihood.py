"""What a cut loses in the log-likelihood of the gold answers.

Nothing needs to be generated for it, and it has a finer scale than most metrics: it shows small
losses that leave all answers as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..report.formatting import number
from ..stats.permutation import LEVEL
from ..stats.scores import Name
from .found import BASE, Split
from .phrases import answer, compared, the
from .summary import rows_of

LOSES_LIKELIHOOD = "loses_likelihood"
_QUESTION = "Does a cut lose log-likelihood of the gold answers?"


def with_likelihood(decided: Mapping[str, Any], full: int) -> dict[str, Any]:
    """Return what ``sweep.json`` says about a task, with an answer about the log-likelihood.

    It is about the cut that is recommended, else the one that keeps the gain, else the best one. If
    all of these are the whole adapter, it is about the one that loses least.

    Args:
        decided: What it says without.
        full: The boundary that keeps the whole adapter.
    """
    if "likelihood" not in decided:
        return dict(decided)
    found = {"question": _QUESTION, **_answer(decided, full)}
    return {**decided, "answers": {**decided["answers"], LOSES_LIKELIHOOD: found}}


def _answer(decided: Mapping[str, Any], full: int) -> dict[str, Any]:
    named = (decided["choice"], decided["smallest_noninferior"], decided["best"])
    if decided["test"] is not None:
        split = _split(decided["test"]["likelihood"])
        cut = next((name for name in named if name in _others(split, full)), None)
        if cut is not None:
            return _compared(split, cut, full)
    split = _split(decided["likelihood"])
    others = _others(split, full)
    if full not in split.rows or not others:
        return answer(split, "no smaller cut was scored.", cut=None)
    cut = next((name for name in named if name in others), None)
    if cut is None:
        cut = max(others, key=lambda name: float(split.rows[name]["delta_full"]))
    return _compared(split, cut, full)


def _split(entry: Mapping[str, Any]) -> Split:
    """Return the cuts whose log-likelihood can be compared."""
    rows = {
        name: row
        for name, row in rows_of(entry)
        if row["value"] is not None and row["delta_full"] is not None
    }
    return Split(entry["split"], entry["documents"], entry["documents"], rows)


def _others(split: Split, full: int) -> list[Name]:
    """Return the cuts besides the whole adapter and the base model."""
    return [name for name in split.rows if name not in (full, BASE)]


def _compared(split: Split, cut: Name, full: int) -> dict[str, Any]:
    """Return the answer about a cut."""
    rows, row = split.rows, split.rows[cut]
    ends, p = (row["simultaneous_low"], row["simultaneous_high"]), row["p_simultaneous"]
    loses = p is not None and p <= 1 - LEVEL and row["delta_full"] < 0
    against = f"{number(rows[full]['value'])} with the whole adapter"
    if BASE in rows:
        against += f" and {number(rows[BASE]['value'])} with the base model"
    start = "Yes" if loses else f"Not shown with {split.counted}"
    sentence = (
        f"{start}: {the(cut, full)} has {number(row['value'])} per answer, against {against}: "
        f"{compared(row['delta_full'], *ends, p)}, corrected for all cuts"
        f"{f', on {split.counted}' if loses else ''}."
    )
    return answer(split, sentence, row["delta_full"], ends, p, shown=loses, cut=cut)
