"""The processes of a sweep, tested without launching any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from lm_eval_lora_boundary import sweep, trace
from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.errors import LoraBoundaryError, ModelError, OutputError
from lm_eval_lora_boundary.forward import memory
from lm_eval_lora_boundary.harness import processes
from lm_eval_lora_boundary.sweeps.scheduler import Scheduler, Work
from lm_eval_lora_boundary.sweeps.store import AnswerStore

CUT = Cut((1.0, 0.0, 0.5))


@pytest.fixture
def as_process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def pretend(rank: int, count: int = 2) -> None:
        for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", count)):
            monkeypatch.setenv(name, str(value))

    return pretend


def test_rank_and_count_are_those_of_the_launcher(
    as_process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (processes.rank(), processes.count()) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "4")  # left over, without processes
    assert (processes.rank(), processes.count()) == (0, 1)
    as_process(1, 3)
    assert (processes.rank(), processes.count()) == (1, 3)
    as_process(0, 1)
    processes.refuse_several("trace")
    assert processes.gather("alone") == ["alone"]
    assert processes.command("order", len) == 5


def test_trace_runs_in_one_process(
    settings: dict[str, Any], as_process: Any, tmp_path: Path
) -> None:
    as_process(1)
    for call, more in ((trace, {}), (sweep, {"candidates": "trace"})):
        with pytest.raises(
            LoraBoundaryError, match="trace runs in one process and 2 were launched"
        ):
            call(tasks="tiny_words", output=tmp_path / "out", **settings, **more)
    assert not (tmp_path / "out").exists()


def test_several_machines(
    settings: dict[str, Any], as_process: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_process(1, 4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(LoraBoundaryError, match=r"2 of 4 processes .* --num_machines 1"):
        sweep(tasks="tiny_words", output=tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_processes_share_the_memory_of_a_machine() -> None:
    alone = memory.free_bytes(torch.device("cpu"), processes=1)
    shared = memory.free_bytes(torch.device("cpu"), processes=100)
    assert alone is not None and shared is not None
    assert shared < alone / 20


@pytest.mark.parametrize("asked", ["lm_eval", "fork", "toggle"])
def test_batches_do_not_depend_on_processes(as_process: Any, asked: str) -> None:
    """Several processes divide the batches of a single one among them."""
    if asked == "lm_eval":
        from lm_eval_lora_boundary.harness.data_parallel import _Calls

        made: dict[int, int] = {}
        for rank in range(3):
            as_process(rank, 3)
            calls: Any = _Calls()
            for number in range(7):
                calls.make(lambda n=number, r=rank: made.setdefault(n, r), None)
        assert made == {number: number % 3 for number in range(7)}
        return

    class Engine:
        name = asked

        def rows(self, cuts: int) -> int:
            return cuts if asked == "fork" else 1

        def engine(self, _: Any) -> Engine:
            return self

    requests: Sequence[Any] = list(range(10))
    cuts = [Cut.up_to(boundary, 4) for boundary in (3, 2, 1, 0, -1)]
    ours = Scheduler(Engine(), None, "", 4, None)  # type: ignore[arg-type]

    def answered(batches: Any) -> set[tuple[Cut, tuple[int, ...]]]:
        return {(cut, tuple(batch)) for some, batch in batches for cut in some}

    alone = answered(ours._batches(requests, cuts, 4))
    as_process(0, 3)
    assert answered(ours._batches(requests, cuts, 4)) == alone


def test_another_process_of_the_run_shares_the_file(tmp_path: Path) -> None:
    with (
        closing(AnswerStore(tmp_path)) as first,
        closing(AnswerStore(tmp_path, joins=True)) as second,
    ):
        second.put([CUT], [(b"request", ["answer"])])
        assert first.get([b"request"], CUT) == {b"request": "answer"}
        with pytest.raises(OutputError, match="another process"):
            AnswerStore(tmp_path)


def test_work_from_a_process_with_another_model_is_refused(as_process: Any) -> None:
    class Engines:
        name = "toggle"

        def engine(self, _: Any) -> Engines:
            return self

    ours = Scheduler(Engines(), None, "one", 4, None)  # type: ignore[arg-type]
    work = Work("task", [None], [0], 4, "another")  # type: ignore[list-item]
    with pytest.raises(ModelError, match="do not agree on the model or the engine"):
        ours.answer_share(work)
