"""``--dry-run``: what a number of documents can show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import SWEEP, read_object
from ..stats.margin import Margin
from ..stats.power import detectable, documents_to_keep, spread
from .questions import COULD_TELL

_ASSUMED = (0.1, 0.2)  # shares of documents on which a cut and the whole adapter disagree
_GAINS = (0.2, 0.4, 0.8)


def seen_so_far(output: Path, task: str) -> Mapping[str, Any] | None:
    """Return what an earlier sweep in the folder says about a task; None if there is none."""
    try:
        found = read_object(output / SWEEP, "")["tasks"][task]
        return found if isinstance(found, dict) and COULD_TELL in found["answers"] else None
    except (OutputError, KeyError, TypeError):
        return None  # this is a help for planning, and the sweep itself will read the folder


def resolution(
    documents: int, margin: Margin, seen: Mapping[str, Any] | None, *, binary: bool
) -> Iterator[str]:
    """Yield how small a difference documents show, and how many the margin needs.

    Args:
        documents: Number of documents that would be scored.
        margin: How much of the gain a cut may lose.
        seen: What an earlier sweep says about the task, which tells how often cuts disagree.
        binary: Whether the metric may be right or wrong, so that a disagreement can be assumed.
    """
    known = None if seen is None else seen["answers"][COULD_TELL]
    if seen is not None and known is not None and known.get("spread") is not None:
        difference = detectable(documents, known["spread"], known["scale"])
        yield (
            f"  a difference of {difference:.2g} in {seen['metric']} would be seen 4 times in 5, "
            f"by the disagreement seen on {known['documents']} documents"
        )
        if (needed := _by_what_was_seen(margin, known)) is not None:
            yield (
                f"  documents needed to show that an equal cut loses less than {margin}: about "
                f"{needed:,}"
            )
        return
    if not binary:
        yield (
            "  how small a difference would be seen depends on how much cuts disagree: "
            "sweep some documents first, and ask again"
        )
        return
    few, many = _ASSUMED
    yield (
        f"  a difference of {detectable(documents, spread(few)):.2g} would be seen 4 times in 5 if "
        f"{few:.0%} of the answers differ (right or wrong), and one of "
        f"{detectable(documents, spread(many)):.2g} if {many:.0%} do"
    )
    if margin.is_share:
        needed_for = ", ".join(
            f"{_needed(margin.value * gain, margin.value, gain):,} for a gain of {gain:g}"
            for gain in _GAINS
        )
    else:
        needed_for = f"{_needed(margin.value, 0.0, 0.0):,}"
    yield (
        f"  documents needed to show that an equal cut loses less than {margin}, if "
        f"{_ASSUMED[0]:.0%} of the answers differ: about {needed_for}"
    )


def _by_what_was_seen(margin: Margin, known: Mapping[str, Any]) -> int | None:
    """Return how many documents the margin needs; None if there is no gain to keep a share of."""
    variance, loss = known["spread"] ** 2, margin.value
    if margin.is_share:
        if known["gain"] is None or known["base_spread"] is None:
            return None
        loss *= known["gain"]
        variance += (margin.value * known["base_spread"]) ** 2
    return documents_to_keep(loss, variance**0.5, known["scale"])


def _needed(loss: float, share: float, gain: float) -> int:
    """Return the documents to show a loss below ``loss``, for answers that are right or wrong."""
    variance = _ASSUMED[0] + share**2 * gain * (1 - gain)
    return documents_to_keep(loss, variance**0.5)
