"""How long a sweep takes is found out by answering a few of its requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.errors import NotFiniteError
from lm_eval_lora_boundary.forward.requests import Answers, Request, Score
from lm_eval_lora_boundary.sweeps.trial_run import BUDGET, trial_run

CUTS = [Cut.up_to(0, 2), Cut.up_to(1, 2)]
REQUESTS = [Score(tuple(range(length)), (1,)) for length in range(1, 65)]


class Engine:
    """Takes a second to prepare, and a time for each token."""

    name = "made up"

    def __init__(self, seconds: float, fails: bool = False) -> None:
        self.seconds, self.fails, self.now = seconds, fails, 0.0
        self.batches: list[int] = []

    def clock(self) -> float:
        return self.now

    def rows(self, cuts: int) -> int:
        return cuts

    def passes(self, cuts: Sequence[Cut]) -> int:
        return len(cuts)

    def prepare(
        self, requests: Sequence[Request], cuts: Sequence[Cut]
    ) -> Callable[[Sequence[Request]], list[Answers]]:
        self.now += 1

        def answer(batch: Sequence[Request]) -> list[Answers]:
            if self.fails:
                raise NotFiniteError((1,), cut=1)
            self.batches.append(len(batch))
            self.now += self.seconds * sum(request.length for request in batch)
            return []

        return answer


@pytest.mark.parametrize("seconds", [1e-4, 1e-3, 1e-2, 0.1])
def test_the_estimate_is_what_all_would_take(seconds: float) -> None:
    engine = Engine(seconds)
    found = trial_run(engine, REQUESTS, CUTS, rows=1000, clock=engine.clock)
    everything = 1 + seconds * sum(request.length for request in REQUESTS)
    assert found.seconds == pytest.approx(everything, rel=0.05)
    assert engine.now < 2 * BUDGET
    assert found.full == (found.timed == len(REQUESTS))


def test_no_more_are_answered_at_once_than_in_the_sweep() -> None:
    engine = Engine(1e-4)
    found = trial_run(engine, REQUESTS, CUTS, rows=11, clock=engine.clock)
    assert (found.timed, found.full, max(engine.batches)) == (5, True, 5)


def test_a_slow_machine_is_told_after_one_request() -> None:
    engine = Engine(10.0)
    found = trial_run(engine, REQUESTS, CUTS, rows=1000, clock=engine.clock)
    assert engine.batches == [1]
    assert not found.full


def test_logits_that_are_no_numbers_name_the_cut() -> None:
    engine = Engine(1.0, fails=True)
    with pytest.raises(NotFiniteError) as raised:
        trial_run(engine, REQUESTS, CUTS, rows=8, clock=engine.clock)
    assert raised.value.cut == str(CUTS[1])
