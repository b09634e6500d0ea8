"""The decision of a sweep: the answers to the four questions, and the recommended cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..stats.margin import Margin
from ..stats.noninferiority import ALPHA
from ..stats.scores import Name
from ..stats.sequences import fixed_sequence
from .found import BASE, Found, Split
from .questions import BETTER, HELPS, KEEPS, answers
from .summary import rows_of

# why a cut is recommended
IS_BETTER = "better than the whole adapter"
KEEPS_GAIN = "keeps the gain"
DOES_HARM = "the adapter does harm"

_MOST = 4  # cuts that keep the gain on one split and are tested on another


def decide(summary: Mapping[str, Any], full: int, scale: float = 1.0) -> dict[str, Any]:
    """Return the summary of a task with the answers and the recommended cut.

    This is the only place where it is decided: the terminal, the report and ``--save`` read
    ``choice``, ``choice_basis`` and ``choice_reason``. Without evidence the whole adapter stays.

    Args:
        summary: What ``sweep.json`` says about the task.
        full: The boundary that keeps the whole adapter.
        scale: How much one document can lose, in the unit of the metric.
    """
    if summary["not_chosen"]:
        return {
            **summary,
            "noninferior": [],
            "smallest_noninferior": None,
            "answers": {},
            "choice": full,
            "choice_basis": None,
            "choice_reason": summary["not_chosen"],
        }
    found = _found(summary, full, scale)
    answered = answers(found)
    shown = list(found.keeping) if answered[KEEPS]["shown"] else []
    cut: Name = full
    basis = None
    if answered[HELPS].get("worse"):
        cut, basis = BASE, DOES_HARM
    elif answered[BETTER]["shown"]:
        cut, basis = summary["best"], IS_BETTER
    elif shown:
        cut, basis = shown[0], KEEPS_GAIN
    reason = None
    if basis is None:
        reason = "no cut is shown to be better than the whole adapter, or to keep its gain"
    return {
        **summary,
        "noninferior": shown,
        "smallest_noninferior": shown[0] if shown else None,
        "answers": answered,
        "choice": cut,
        "choice_basis": basis,
        "choice_reason": reason,
    }


def to_test(kept: Sequence[Name]) -> list[Name]:
    """Return which cuts that keep the gain on one split to test on another, the largest first.

    These are the smallest and the largest one, and some between them.

    Args:
        kept: From the smallest to the largest.
    """
    last = len(kept) - 1
    places = {round(i * last / (_MOST - 1)) for i in range(_MOST)} if kept else set()
    return [kept[place] for place in sorted(places, reverse=True)]


def _found(summary: Mapping[str, Any], full: int, scale: float) -> Found:
    chosen_on, test, tests = _split(summary), summary["test"], summary["keeping"]
    tested_on = None if test is None else _split(test)
    keeping, tested = tests["cuts"], []
    if tested_on is not None:
        # the order was fixed by the other split
        tested = to_test(keeping)
        p_values = [tested_on.rows.get(name, {}).get("p_noninferior") for name in tested]
        number = fixed_sequence([1.0 if p is None else p for p in p_values], ALPHA)
        keeping = tested[:number][::-1]
    return Found(
        metric=summary["metric"].removesuffix(",none"),
        sign=1 if summary["higher_is_better"] else -1,
        margin=Margin.read(summary["margin"]),
        full=full,
        chosen_on=chosen_on,
        tested_on=tested_on,
        best=summary["best"],
        keeping=keeping,
        tested=tested,
        stopped_at=tests["stopped_at"],
        dropped=tests["stopped_by_race"],
        level=tests["level"],
        orders=tests["families"],
        cuts=len(chosen_on.rows) + tests["dropped"],
        raced=tests["dropped"] > 0,
        scale=scale,
    )


def _split(entry: Mapping[str, Any]) -> Split:
    documents = entry["documents"]
    clusters = entry["clusters"]
    units = documents if clusters is None else clusters["count"]
    return Split(entry["split"], documents, units, dict(rows_of(entry)))
