"""Findings, and the pieces of Markdown that they are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lm_eval_lora_boundary.report.formatting import number, signed

from .comparing import Value

SUPPORTED, NOT_SUPPORTED, OPEN = "supported", "not supported", "not decidable at this scale"
SUFFERS, NO_HARM = "it suffers", "it does not suffer"
# where there is nothing to judge
NO_CUT = "no cut to test, since none scored higher than the whole adapter on validation documents"
EQUAL = "no cut to test, since all boundaries score the same on validation documents"
NOTHING = "Not run yet."

# the title of a data set, or that and what was compared on it
Subject = str | tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """What was found about one question.

    Attributes:
        question: The question.
        outcomes: The verdict of each data set, or of a data set and what was compared on it.
        sentences: What it rests on.
        headings: Of the table's columns.
        rows: The table's rows.
        answer: The answer to a question that has no verdict.
        remark: What has to be said with the verdict.
    """

    question: str
    outcomes: Sequence[tuple[Subject, str]]
    sentences: Sequence[str] = ()
    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    answer: str = ""
    remark: str = ""

    @property
    def verdict(self) -> str:
        """The answer in a few words."""
        return " ".join(filter(None, (self.answer or summary(self.outcomes), self.remark)))

    def where(self, verdict: str) -> list[str]:
        """Return the data sets with a verdict."""
        return _together([subject for subject, given in self.outcomes if given == verdict])

    def markdown(self) -> str:
        """Return the section of the page."""
        parts = [f"### {self.question}", f"**{self.verdict}**", " ".join(self.sentences)]
        if self.rows:
            parts.append(table(self.headings, self.rows))
        return "\n\n".join(filter(None, parts))


def verdict(gain: Value, scale: float) -> str:
    """Return whether something is better, by a rule that was stated in advance.

    Supported: the interval of the gain is above 0. Not supported: a gain that would matter is
    outside the interval. Else these documents cannot tell.

    Args:
        gain: How much better it is.
        scale: The smallest gain that would matter.
    """
    if gain.low > 0:
        return SUPPORTED
    return NOT_SUPPORTED if gain.high < scale else OPEN


def summary(verdicts: Sequence[tuple[Subject, str]]) -> str:
    """Return which verdict was given where, as text.

    Args:
        verdicts: Verdicts as in ``Finding.outcomes``.
    """
    if not verdicts:
        return NOTHING
    kinds = dict.fromkeys(
        (SUPPORTED, SUFFERS, NOT_SUPPORTED, NO_HARM, OPEN, *(given for _, given in verdicts))
    )
    sentences = []
    for kind in kinds:
        if subjects := [subject for subject, given in verdicts if given == kind]:
            sentences.append(f"{kind[0].upper()}{kind[1:]}: {listed(_together(subjects))}.")
    return " ".join(sentences)


def _together(subjects: Sequence[Subject]) -> list[str]:
    """Return each data set with all that was compared on it in brackets."""
    details: dict[str, list[str]] = {}
    for subject in subjects:
        title, *detail = (subject,) if isinstance(subject, str) else subject
        details.setdefault(title, []).extend(detail)
    return [
        f"{title} ({listed(compared)})" if compared else title
        for title, compared in details.items()
    ]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(found: Value) -> str:
    """Return a value with its interval, if it has one."""
    if math.isnan(found.low):
        return number(found.value)
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def change(found: Value) -> str:
    """Return a difference with its interval, if it has one."""
    if math.isnan(found.low):
        return f"{signed(found.value)}, too few documents differ"
    if found.low == found.value == found.high == 0:
        return "the same cut"
    return f"{signed(found.value)} [{signed(found.low)}, {signed(found.high)}]"


def layers(cut: str) -> str:
    """Return what a cut keeps, as text."""
    if cut == "none":
        return "base model"
    return "whole adapter" if cut == "all" else cut.replace("-", "–")


def kept(cut: str) -> str:
    """Return what a cut keeps, within a sentence."""
    if cut in ("none", "all"):
        return f"the {layers(cut)}"
    return f"layer {cut}" if cut.isdecimal() else f"layers {layers(cut)}"


def each(cuts: Sequence[str]) -> str:
    """Return the cuts of several seeds as text, once if they are the same."""
    return ", ".join(dict.fromkeys(map(layers, cuts)))


def listed(parts: Sequence[str]) -> str:
    """Return parts as a list in a sentence."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""
