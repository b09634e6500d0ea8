"""The four questions that a sweep answers about a task, each with a sentence and a number.

1. Does the adapter help at all?
2. Is any cut better than the whole adapter?
3. What is the smallest cut that keeps what the adapter gained?
4. Could these documents tell?

An answer is ``shown`` only if a test at 5 % shows it. Where a cut was chosen on one split and
scored on another, the other split answers. Otherwise the tests are corrected for the choice.
"""

from __future__ import annotations

from typing import Any

from ..report.formatting import number
from ..stats.permutation import LEVEL
from ..stats.power import POWER
from .found import BASE, Found
from .gain_kept import keeps
from .phrases import compared, numbers, plain, the, unknown

Answer = dict[str, Any]

HELPS, BETTER, KEEPS, COULD_TELL = "adapter_helps", "better_cut", "keeps_gain", "could_tell"
QUESTIONS = {
    HELPS: "Does the adapter help at all?",
    BETTER: "Is any cut better than the whole adapter?",
    KEEPS: "What is the smallest cut that keeps what the adapter gained?",
    COULD_TELL: "Could these documents tell?",
}
_ALPHA = 1 - LEVEL


def answers(found: Found) -> dict[str, Answer]:
    """Return the answers by question, in their order."""
    answered = {
        HELPS: _helps(found),
        BETTER: _better(found),
        KEEPS: keeps(found),
        COULD_TELL: _could_tell(found),
    }
    return {key: {"question": QUESTIONS[key], **answer} for key, answer in answered.items()}


def _helps(found: Found) -> Answer:
    """Compare the whole adapter with the base model."""
    judge = found.judge
    whole, base = judge.rows.get(found.full), judge.rows.get(BASE)
    if whole is None or base is None or base["p_value"] is None:
        return unknown("whether the adapter helps cannot be tested here", judge)
    difference = -base["delta_full"]
    low, high = _negated(base["ci_low"], base["ci_high"])
    significant = base["p_value"] <= _ALPHA
    shown = significant and found.sign * difference > 0
    scores = (
        f"{found.metric} {number(whole['value'])} against {number(base['value'])} with the base "
        f"model, {compared(difference, low, high, base['p_value'])}"
    )
    if shown:
        sentence = f"Yes: {scores}, on {judge.counted}."
    elif significant:
        sentence = f"No, it does harm: {scores}, on {judge.counted}."
    else:
        sentence = f"Not shown with {judge.counted}: {scores}."
    if found.same_as_base:
        sentence += (
            " Both gave the same answers to all documents that the choice was made on; check that "
            "the adapter is trained, and applied to this base model."
        )
    return {
        "sentence": plain(sentence),
        "shown": shown,
        "harm": significant and not shown,
        "documents": judge.documents,
        **numbers(difference, low, high, base["p_value"]),
    }


def _better(found: Found) -> Answer:
    """Compare the best cut with the whole adapter."""
    name, judge = found.best, found.judge
    if name == found.full:
        return _none_better(found)
    row, whole = judge.rows.get(name), judge.rows.get(found.full)
    again = found.tested_on is not None
    if row is None or whole is None or row["p_value"] is None:
        return unknown(
            "whether a cut is better than the whole adapter cannot be tested here", judge
        )
    difference = row["delta_full"]
    if again:
        low, high, p = row["ci_low"], row["ci_high"], row["p_value"]
        how = f"; chosen on {found.chosen_on.counted}"
    elif found.raced:  # what was dropped has no scores to correct with
        low, high, p = None, None, min(1.0, row["p_value"] * (found.cuts - 1))
        how = f"; corrected for the choice among {found.cuts} cuts (Bonferroni)"
    else:
        low, high = row["simultaneous_low"], row["simultaneous_high"]
        p = row["p_simultaneous"]
        how = f"; corrected for the choice among {found.cuts} cuts"
    significant = p <= _ALPHA
    shown = significant and found.sign * difference > 0
    scores = (
        f"{the(name, found.full)} scores {number(row['value'])} against "
        f"{number(whole['value'])} with the whole adapter, {compared(difference, low, high, p)}"
    )
    if shown:
        sentence = f"Yes: {scores}, on {judge.counted}{how}."
    elif significant:
        sentence = f"No, it is worse: {scores}, on {judge.counted}{how}."
    else:
        sentence = f"Not shown with {judge.counted}: {scores}{how}."
    return {
        "sentence": plain(sentence),
        "shown": shown,
        "cut": name,
        "documents": judge.documents,
        **numbers(difference, low, high, p),
    }


def _none_better(found: Found) -> Answer:
    """Say that the whole adapter has the best value, and which cut is the next."""
    split = found.chosen_on
    known = [
        name
        for name, row in split.rows.items()
        if name != found.full and row["delta_full"] is not None
    ]
    if not known:
        return unknown("no other cut was scored", split)
    next_best = max(known, key=lambda name: found.sign * split.rows[name]["delta_full"])
    row = split.rows[next_best]
    low, high, p = row["simultaneous_low"], row["simultaneous_high"], row["p_simultaneous"]
    others = found.cuts - 1
    none = (
        "the other cut does not score" if others == 1 else f"none of the {others} other cuts scores"
    )
    sentence = (
        f"Not shown with {split.counted}: {none} better; the next is {the(next_best, found.full)}, "
        f"{compared(row['delta_full'], low, high, None)}."
    )
    return {
        "sentence": plain(sentence),
        "shown": False,
        "cut": None,
        "documents": split.documents,
        **numbers(row["delta_full"], low, high, p),
    }


def _could_tell(found: Found) -> Answer:
    """Say how small a difference the documents show."""
    seen, judge = found.seen, found.judge
    if seen is None:
        return unknown("how small a difference would be seen is not known here", judge)
    low, high = found.seen_ends
    needed, loss = found.documents_needed, found.loss
    if seen < found.scale:
        sentence = (
            f"With {judge.counted}, a difference of {number(seen)} between a cut and the whole "
            f"adapter would be seen {POWER * 5:g} times in 5. A smaller loss could go unseen just "
            "as well."
        )
    else:
        sentence = f"Hardly: with {judge.counted}, even a large difference would rarely be seen."
    if needed is not None:
        share = f"{100 * found.margin.value:g} % of the gain, "
        of = share if found.margin.is_share else ""
        sentence += (
            f" To show that an equal cut loses less than the margin ({of}{number(loss)}) takes "
            f"about {needed:,} documents."
        )
    base, row = judge.rows.get(BASE), found.typical
    return {
        "sentence": plain(sentence),
        "shown": needed is not None and needed <= judge.documents,
        "documents_needed": needed,
        "documents": judge.documents,
        # with which a dry run plans for another number of documents or another margin
        "spread": None if row is None else row["spread"],
        "base_spread": None if base is None else base["spread"],
        "gain": found.gain,
        "scale": found.scale,
        **numbers(seen, low, high),
    }


def _negated(low: float | None, high: float | None) -> tuple[float | None, float | None]:
    return (None if high is None else -high), (None if low is None else -low)
