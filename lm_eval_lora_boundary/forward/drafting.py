"""Drafts: what a response will probably be, from responses that are there already.

A draft never changes a response. It is read in one pass, and as far as the model would have written
the same, that many tokens have been decoded at once. What that saves depends on how well responses
agree and on what passes cost; see :class:`Costs`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .requests import shared_length

WIDTH = 4  # tokens that a row reads in a step with a draft: the newest, and three of the draft
_ALIKE = (4, 3, 2)  # tokens by which a place in another response is found again
WORTH = 0.95  # share of the cost without drafts, from which on they are not worth it


class Draft:
    """Other responses to the same prompt, as a draft of a response."""

    def __init__(self, others: Sequence[Sequence[int]]) -> None:
        """Prepare.

        Args:
            others: Token ids of finished responses.
        """
        self._others = [list(other) for other in others]
        self._places: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for number, other in enumerate(self._others):
            for alike in _ALIKE:
                for place in range(alike, len(other)):
                    end = tuple(other[place - alike : place])
                    self._places.setdefault(end, []).append((number, place))

    def guess(self, written: Sequence[int], most: int) -> list[int]:
        """Return what a response probably goes on with.

        Args:
            written: Token ids of the response so far, at least one.
            most: Most tokens to return.

        Returns:
            Token ids: how another response goes on that began in the same way; else how one goes
            on after the same last few tokens, at the place nearest to the end of ``written``.
        """
        length = len(written)
        for other in self._others:
            if len(other) > length and other[:length] == written:
                return other[length : length + most]
        for alike in _ALIKE:
            if places := self._places.get(tuple(written[-alike:])):
                number, place = min(places, key=lambda each: abs(each[1] - length))
                return self._others[number][place : place + most]
        return []


def agreement(batch: Sequence[Sequence[Sequence[int]]]) -> float:
    """Return which share of the responses is as in the response of the highest boundary.

    Args:
        batch: Token ids of the responses to each request, boundaries ascending.
    """
    shares = [
        shared_length(response, responses[-1]) / len(response)
        for responses in batch
        for response in responses[:-1]
        if response
    ]
    return statistics.fmean(shares) if shares else 0.0


def steps_per_token(batch: Sequence[Sequence[Sequence[int]]]) -> float:
    """Return how many steps a token would have taken with neighbours' responses as drafts.

    Args:
        batch: Token ids of the responses to each request, boundaries in order.
    """
    steps = tokens = 0
    for responses in batch:
        for number in range(1, len(responses), 2):
            response = responses[number]
            draft = Draft([responses[number - 1], *responses[number + 1 : number + 2]])
            done = 1  # comes with the prompt
            while done < len(response):
                guessed = draft.guess(response[:done], WIDTH - 1)
                done += 1 + shared_length(guessed, response[done:])
                steps += 1
            tokens += max(0, len(response) - 1)
    return steps / tokens if tokens else 1.0


@dataclass(frozen=True)
class Costs:
    """What passes cost, as shares of a decoding step of all rows, documents × boundaries.

    Attributes:
        reading: To read one token of each document's draft under all boundaries.
        whole: A decoding step of one row per document.
        half: A decoding step of half of the rows.
        wide: A step of all rows in which each reads ``WIDTH`` tokens.
    """

    reading: float
    whole: float
    half: float
    wide: float

    def with_whole(self, agreement: float) -> float:
        """Return what a token costs if the highest boundary's response is read under the others.

        Args:
            agreement: The share of their responses that is as in that one.
        """
        return self.whole + self.reading + (1 - agreement)

    def with_neighbours(self, steps: float) -> float:
        """Return what a token costs if every second boundary waits for its neighbours' responses.

        Args:
            steps: Steps per token with these as drafts.
        """
        return self.half * (1 + self.wide * steps)


class Stopwatch:
    """Takes the time of the passes of a batch that is written without drafts."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._plain: list[tuple[int, float]] = []
        self._wide: list[tuple[int, float]] = []
        self._reading: float | None = None

    def read(self, tokens: int, seconds: float) -> None:
        """Note how long it took to read so many tokens of each document at all boundaries."""
        self._reading = seconds / tokens

    def step(self, rows: int, tokens: int, seconds: float) -> None:
        """Note how long a step of so many tokens per row took."""
        if tokens == 1:
            self._plain.append((rows, seconds))
        elif tokens == WIDTH:
            self._wide.append((rows, seconds))

    def costs(self, documents: int) -> Costs | None:
        """Return what passes cost, or None if too little was seen.

        Args:
            documents: Documents in the batch.
        """
        rows = max((count for count, _ in self._wide), default=0)
        wide = [seconds for count, seconds in self._wide if count == rows]
        nearest = min((abs(count - rows) for count, _ in self._plain), default=None)
        if not wide or nearest is None or self._reading is None:
            return None
        step = statistics.median(
            seconds * rows / count for count, seconds in self._plain if abs(count - rows) == nearest
        )
        dearer = min(wide) / step
        # the share of a step that does not depend on the rows, from steps of fewer; where none was
        # seen, the largest that the wide steps allow, so that drafts are not used by mistake
        shares = [
            (seconds / step - count / rows) / (1 - count / rows)
            for count, seconds in self._plain
            if count <= rows / 2
        ] or [(WIDTH - dearer) / (WIDTH - 1)]
        fixed = min(1.0, max(0.0, statistics.median(shares)))

        def few(count: float) -> float:
            return fixed + (1 - fixed) * count / rows

        return Costs(self._reading / step, few(documents), few(rows / 2), dearer)
