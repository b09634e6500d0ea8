"""How long a sweep will take on this machine, from answering a few of its requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..cuts.keep import Cut
from ..errors import NotFiniteError
from ..forward.requests import Request
from .engines import Engine

BUDGET = 20.0  # seconds for one task; the last of its trials may take about as long again
_GROWTH = 4  # how many more requests the next trial takes


@dataclass(frozen=True)
class TrialRun:
    """What a trial measured.

    Attributes:
        seconds: How long all requests will take.
        timed: How many requests were answered at once to find that out.
        full: Whether that is as many as a batch of the sweep has; larger batches are faster.
    """

    seconds: float
    timed: int
    full: bool


def trial_run(
    engine: Engine,
    requests: Sequence[Request],
    cuts: Sequence[Cut],
    rows: int,
    clock: Callable[[], float] = time.perf_counter,
) -> TrialRun:
    """Answer some requests under all cuts, more and more of them at once, while time allows.

    Args:
        engine: The engine.
        requests: All requests of one kind.
        cuts: All cuts.
        rows: Rows in a batch of the sweep.
        clock: Returns the time in seconds.

    Raises:
        NotFiniteError: A logit is NaN or infinite.
    """
    longest_first = sorted(requests, key=lambda request: -request.length)
    most = min(len(requests), max(1, rows // engine.rows(len(cuts))))
    start = clock()
    try:
        answer = engine.prepare(requests, cuts)
        prepared = clock() - start
        count = 1
        while True:
            # one from each part, so that long and short ones have their share
            some = [longest_first[(2 * i + 1) * len(requests) // (2 * count)] for i in range(count)]
            begun = clock()
            answer(some)
            took = clock() - begun
            if count == most or clock() - start + _GROWTH * took > BUDGET:
                break
            count = min(most, _GROWTH * count)
    except NotFiniteError as error:
        assert isinstance(error.cut, int)  # an engine does not know what cuts are called
        cut = str(cuts[error.cut])
        raise NotFiniteError(error.context, error.continuation, cut) from error
    return TrialRun(prepared + took / count * len(requests), count, count == most)
