"""What a sweep concludes about a task, as ``sweep.json`` has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """The answer to one of the questions of a sweep, in a sentence.

    Attributes:
        shown: Whether the documents show what the question asks for.
        documents_needed: How many documents would show an equal cut to keep the gain.
        scale: How much one document can lose: 1 for values between 0 and 1.
    """

    key: str
    question: str
    sentence: str
    shown: bool
    documents_needed: int | None = None
    scale: float | None = None


@dataclass(frozen=True)
class Optimism:
    """How much choosing on the same documents inflates the best boundary's score.

    Attributes:
        value: By how much, never negative.
        corrected: The score without that.
        p_value: Of the best against the whole adapter, corrected for the choice.
    """

    value: float | None
    corrected: float | None
    p_value: float | None


@dataclass(frozen=True)
class Clusters:
    """What was drawn instead of documents: those with the same value of ``field`` together."""

    field: str
    count: int


@dataclass(frozen=True)
class Control:
    """The best cut of a family against the best boundary, in words.

    Attributes:
        as_good: Whether it scores as well, which speaks against a reason in the boundary itself.
    """

    family: str
    sentence: str
    as_good: bool
