"""The progress of a sweep: one number that only grows, and that ends at one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lm_eval_lora_boundary.forward.requests import Generate, Score
from lm_eval_lora_boundary.sweeps import progress as module
from lm_eval_lora_boundary.sweeps.progress import Progress

LAYERS = 3


class Shown:
    """In place of the display: what it was asked to show."""

    def __init__(self, job: str) -> None:
        self.shares: list[float] = []
        self.stored = self.done = 0.0

    def show(self, done: float, total: float, text: str = "", *, stored: float = 0.0) -> None:
        self.shares.append(done / total if total else 1.0)
        self.done, self.stored = done, stored

    def close(self) -> None:
        pass


def requests(count: int) -> list[Score]:
    return [Score((1, 2, 3), (4,)) for _ in range(count)]


def work(layers: Sequence[nn.Module], count: int) -> None:
    for layer in layers:
        layer(torch.zeros(count, 4, 2))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    made: list[Shown] = []
    monkeypatch.setattr(module, "Display", lambda job: made.append(Shown(job)) or made[-1])
    return made


@given(
    batches=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    stored=st.integers(0, 4),
    tested=st.integers(0, 3),
    per_document=st.integers(1, 3),
)
def test_it_only_grows_and_ends_at_one(
    batches: list[int], stored: int, tested: int, per_document: int
) -> None:
    made: list[Shown] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Display", lambda job: made.append(Shown(job)) or made[-1])
        layers = [nn.Identity() for _ in range(LAYERS)]
        progress = Progress(layers)
        documents, cuts = sum(batches), 4
        progress.expect({"scoring": {"a": documents * cuts}, "test": {"a": tested * cuts}})
        with progress.stage("scoring"):
            total = documents * per_document
            with progress.task("a", total, total * cuts, "4 cuts"):
                for number, size in enumerate(batches):
                    batch = requests(size * per_document)
                    if number < stored:
                        progress.answered(batch, cuts, stored=True)
                        continue
                    progress.begin(batch, cuts, LAYERS * cuts)
                    work(layers, len(batch))
                    progress.answered(batch, cuts)
        with progress.stage("test"):
            if tested:
                with progress.task("a", tested, tested * cuts, "4 cuts"):
                    progress.begin(requests(tested), cuts, LAYERS * cuts)
                    work(layers, tested)
                    progress.answered(requests(tested), cuts)
        progress.close()
    (shown,) = made
    # a test split that turns out smaller than expected may only make it jump ahead
    assert shown.shares == sorted(shown.shares)
    expected = shown.shares[-1]
    assert expected == pytest.approx(1) or (tested and per_document > 1)
    assert shown.stored == sum(batches[:stored]) * per_document * cuts
    before = len(shown.shares)
    work(layers, 1)
    assert len(shown.shares) == before  # nothing is watched any more


def test_it_moves_within_a_batch(shown: list[Shown]) -> None:
    layers = [nn.Identity() for _ in range(LAYERS)]
    progress = Progress(layers)
    progress.expect({"scoring": {"a": 2}})
    with progress.stage("scoring"), progress.task("a", 2, 2, "1 cut"):
        progress.begin(requests(2), 1, LAYERS)
        for number, layer in enumerate(layers):
            layer(torch.zeros(2, 3, 2))
            share = shown[0].shares[-1]
            assert share == pytest.approx(min(0.95, (number + 1) / LAYERS))
        progress.answered(requests(2), 1)
    assert shown[0].shares[-1] == 1


def test_a_written_answer_counts_more_than_a_scored_one(shown: list[Shown]) -> None:
    progress = Progress()
    written = [Generate((1, 2), (), 8, "{}", "", "{}") for _ in range(2)]
    scored = requests(2)
    works = {"a": module.work_of(written, 4), "b": module.work_of(scored, 4)}
    assert works == {"a": 24, "b": 8}
    progress.expect({"scoring": works})
    with progress.stage("scoring"):
        for name, some in (("a", written), ("b", scored)):
            with progress.task(name, 2, works[name], "4 cuts"):
                progress.begin(some, 4, LAYERS)
                progress.answered(some, 4)
    assert shown[0].shares == [24 / 32, 1]


def test_an_interrupt_says_how_far_it_got() -> None:
    progress = Progress()
    with (
        pytest.raises(KeyboardInterrupt, match="after 2 of 5 requests of a"),
        progress.task("a", 5, 20, "4 cuts"),
    ):
        progress.begin(requests(2), 4, 1)
        progress.answered(requests(2), 4)
        raise KeyboardInterrupt
