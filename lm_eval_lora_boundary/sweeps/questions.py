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

from ..report.formatting import clipped, number
from ..stats.permutation import LEVEL
from ..stats.power import POWER
from .found import BASE, Found
from .gain_kept import keeps
from .phrases import answer, compared, the

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
        return answer(judge, "whether the adapter helps cannot be tested here.")
    ends = tuple(None if end is None else -end for end in (base["ci_high"], base["ci_low"]))
    against = f"{number(base['value'])} with the base model"
    scores = f"{found.metric} {number(whole['value'])} against {against}"
    return _tested(found, scores, -base["delta_full"], ends, base["p_value"], no="it does harm")


def _better(found: Found) -> Answer:
    """Compare the best cut with the whole adapter."""
    name, judge = found.best, found.judge
    if name == found.full:
        return _none_better(found)
    row, whole = judge.rows.get(name), judge.rows.get(found.full)
    if row is None or whole is None or row["p_value"] is None:
        return answer(
            judge, "whether a cut is better than the whole adapter cannot be tested here."
        )
    ends, p = (row["ci_low"], row["ci_high"]), row["p_value"]
    if found.tested_on is not None:
        how = f"; chosen on {found.chosen_on.counted}"
    elif found.raced:  # what was dropped has no scores to correct with
        ends, p = (None, None), min(1.0, p * (found.cuts - 1))
        how = f"; corrected for the choice among {found.cuts} cuts (Bonferroni)"
    else:
        ends = (row["simultaneous_low"], row["simultaneous_high"])
        p = row["p_simultaneous"]
        how = f"; corrected for the choice among {found.cuts} cuts"
    against = f"{number(whole['value'])} with the whole adapter"
    scores = f"{the(name, found.full)} scores {number(row['value'])} against {against}"
    found_better = _tested(found, scores, row["delta_full"], ends, p, no="it is worse", how=how)
    return {**found_better, "cut": name}


def _tested(
    found: Found,
    scores: str,
    difference: float,
    ends: tuple[float | None, ...],
    p: float,
    *,
    no: str,
    how: str = "",
) -> Answer:
    """Return the answer that a two-sided test gives.

    Args:
        found: What was found.
        scores: What is compared, in words.
        difference: How much larger the first value is.
        ends: The ends of its interval.
        p: Its p-value.
        no: What to say if it is significantly worse.
        how: How it was tested, in words.
    """
    judge, (low, high) = found.judge, ends
    significant = p <= _ALPHA
    shown = significant and found.sign * difference > 0
    says = f"{scores}, {compared(difference, *clipped(low, high, found.possible), p)}"
    if significant:
        sentence = f"{'Yes' if shown else f'No, {no}'}: {says}, on {judge.counted}{how}."
    else:
        sentence = f"Not shown with {judge.counted}: {says}{how}."
    return answer(
        judge, sentence, difference, (low, high), p, shown=shown, worse=significant and not shown
    )


def _none_better(found: Found) -> Answer:
    """Say that the whole adapter has the best value, and which cut is the next."""
    split = found.chosen_on
    known = [
        name
        for name, row in split.rows.items()
        if name != found.full and row["delta_full"] is not None
    ]
    if not known:
        return answer(split, "no other cut was scored.")
    next_best = max(known, key=lambda name: found.sign * split.rows[name]["delta_full"])
    row = split.rows[next_best]
    ends = (row["simultaneous_low"], row["simultaneous_high"])
    others = found.cuts - 1
    none = (
        "the other cut does not score" if others == 1 else f"none of the {others} other cuts scores"
    )
    sentence = (
        f"Not shown with {split.counted}: {none} better; the next is {the(next_best, found.full)}, "
        f"{compared(row['delta_full'], *clipped(*ends, found.possible), None)}."
    )
    return answer(split, sentence, row["delta_full"], ends, row["p_simultaneous"], cut=None)


def _could_tell(found: Found) -> Answer:
    """Say how small a difference the documents show."""
    seen, judge = found.seen, found.judge
    if seen is None:
        return answer(judge, "how small a difference would be seen is not known here.")
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
    return answer(
        judge,
        sentence,
        seen,
        found.seen_ends,
        shown=needed is not None and needed <= judge.documents,
        documents_needed=needed,
        # with which a dry run plans for another number of documents or another margin
        spread=None if row is None else row["spread"],
        base_spread=None if base is None else base["spread"],
        gain=found.gain,
        scale=found.scale,
    )
