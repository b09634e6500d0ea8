"""Look answers up, and let an engine answer missing ones in batches."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TypeVar

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from ..errors import ModelError
from ..forward.requests import Answer, Answers, Generate, Request, Score, key
from ..harness import processes
from ..harness.sweep_lm import AnswerSource
from .engines import Engines
from .progress import Progress
from .store import AnswerStore

logger = logging.getLogger("lm_eval.lora_boundary")

_T = TypeVar("_T")
# boundaries, and requests to answer together under each of them
_Batch = tuple[tuple[int, ...], list[Request]]


@dataclass(frozen=True)
class Work:
    """Requests that all processes answer together.

    Attributes:
        task: Name of their task.
        requests: The requests, of one kind and with the same generation arguments.
        boundaries: The boundaries to answer them under.
        rows: Rows in a batch.
        how: Hash of everything else that decides the answers, including the engine.
    """

    task: str
    requests: list[Request]
    boundaries: list[int]
    rows: int
    how: str


class Scheduler:
    """Answers requests from the store; an engine answers missing ones under several boundaries."""

    def __init__(
        self,
        engines: Engines,
        store: AnswerStore,
        identity: str,
        rows: int | None,
        progress: Progress,
    ) -> None:
        """Prepare.

        Args:
            engines: The engines.
            store: Where answers are kept.
            identity: Everything that decides an answer besides the request and the boundary.
            rows: Rows in a batch; None for as many as memory allows.
            progress: Shows the progress.
        """
        self._engines = engines
        self._store = store
        self._identity = identity
        self._fixed_rows = rows
        self._progress = progress

    def at(self, boundary: int, among: Sequence[int]) -> AnswerSource:
        """Return a function that answers requests at a boundary.

        Args:
            boundary: The boundary.
            among: Boundaries that will be needed as well: a request without an answer is answered
                under all of them at once.
        """
        return partial(self._answers, boundary=boundary, among=among)

    def _answers(
        self, requests: Sequence[Request], task: str, *, boundary: int, among: Sequence[int]
    ) -> list[Answer]:
        keys = [self._key(request) for request in requests]
        known = self._store.get(keys, boundary)
        if len(known) < len(set(keys)):
            self._fill(requests, {*among, boundary}, task)
            known = self._store.get(keys, boundary)
        return [known[each] for each in keys]

    def _identity_of(self, request: Request) -> str:
        """Return everything besides request and boundary that decides an answer."""
        return f"{self._identity} {self._engines.engine(request).name}"

    def _key(self, request: Request) -> bytes:
        return key(request, self._identity_of(request))

    def _how(self, request: Request) -> str:
        return hashlib.sha256(self._identity_of(request).encode()).hexdigest()

    def _fill(self, requests: Sequence[Request], boundaries: set[int], task: str) -> None:
        """Answer requests under all boundaries at which any of them has no answer."""
        unique = list(dict.fromkeys(requests))
        for _, same in groupby(sorted(unique, key=_settings), key=_settings):
            alike = sorted(same, key=_order)
            present = self._present(alike)
            missing = {each for each in boundaries if any(each not in p for p in present)}
            if missing:
                rows = self._rows(max(request.length for request in alike), len(boundaries))
                work = Work(task, alike, sorted(missing, reverse=True), rows, self._how(alike[0]))
                processes.command(work, self.answer_share)

    def _rows(self, longest: int, boundaries: int) -> int:
        """Return the number of rows in a batch."""
        if self._fixed_rows is not None:
            return self._fixed_rows
        # Noted in the store, because a resumed run must do exactly the same arithmetic.
        identity = hashlib.sha256(self._identity.encode()).hexdigest()
        name = f"rows for {longest} tokens, {boundaries} boundaries, {identity}"
        return int(self._store.note(name, str(self._engines.rows_that_fit(longest))))

    def _present(self, requests: Sequence[Request]) -> list[set[int]]:
        """Return the boundaries at which each request has been answered."""
        keys = [self._key(request) for request in requests]
        answered = self._store.boundaries(keys)
        return [answered[each] for each in keys]

    def answer_share(self, work: Work) -> None:
        """Answer this process's share of work: with P processes, every P-th batch.

        Raises:
            ModelError: This process would not answer as the one that gave the work.
        """
        if self._how(work.requests[0]) != work.how:
            raise ModelError(
                "the processes do not agree on the model or the engine; give --engine toggle, or "
                "launch them on identical devices"
            )
        batches = self._batches(work.requests, work.boundaries, work.rows)
        mine = batches[processes.rank() :: processes.count()]
        documents = sum(len(batch) for _, batch in mine)
        with self._progress.task(work.task, documents, len(work.boundaries)):
            self._answer(work.requests, mine, work.rows)

    def _batches(
        self, alike: Sequence[Request], boundaries: Sequence[int], rows: int
    ) -> list[_Batch]:
        """Divide work into batches.

        The batches depend neither on the stored answers nor on the number of processes, so an
        answer always comes from the same batch.
        """
        engine = self._engines.engine(alike[0])
        # An engine that takes one boundary after another gets one per batch if there are several
        # processes, so that all of them have work.
        one_by_one = len(boundaries) if processes.count() == 1 else 1
        at_once = rows if engine.rows(2) > engine.rows(1) else one_by_one
        batches: list[_Batch] = []
        for first in range(0, len(boundaries), at_once):
            some = tuple(boundaries[first : first + at_once])
            size = max(1, rows // engine.rows(len(some)))
            batches += [
                (some, list(alike[start : start + size])) for start in range(0, len(alike), size)
            ]
        return batches

    def _answer(self, alike: Sequence[Request], batches: Sequence[_Batch], rows: int) -> None:
        """Answer batches; if memory runs out, halve the size of the rest."""
        engine = self._engines.engine(alike[0])
        for some, group in groupby(batches, key=lambda each: each[0]):
            same = [batch for _, batch in group]
            done = 0
            answer = _unless_out_of_memory(partial(engine.prepare, alike, some))
            while answer and done < len(same) and self._answer_batch(answer, same[done], some):
                done += 1
            if done < len(same):
                if rows == 1:
                    raise ModelError(
                        "out of memory with a single row in a batch; give a smaller model, "
                        "shorter prompts or another --device"
                    )
                used = min(rows, len(same[0]) * engine.rows(len(some)))
                fewer = max(1, used // 2)
                logger.warning("out of memory; continuing with %d rows per batch", fewer)
                clear_device_cache(garbage_collection=True)
                rest = [request for batch in same[done:] for request in batch]
                self._answer(rest, self._batches(rest, some, fewer), fewer)

    def _answer_batch(
        self,
        answer: Callable[[Sequence[Request]], list[Answers]],
        batch: Sequence[Request],
        boundaries: Sequence[int],
    ) -> bool:
        """Answer a batch unless it is answered already; return False if memory runs out."""
        if all(present.issuperset(boundaries) for present in self._present(batch)):
            self._progress.answered(batch, [])
            return True
        answers = _unless_out_of_memory(partial(answer, batch))
        if answers is None:
            return False
        self._store.put(zip(map(self._key, batch), answers, strict=True))
        self._progress.answered(batch, answers)
        return True


def _unless_out_of_memory(work: Callable[[], _T]) -> _T | None:
    """Return the result of ``work``, or None if memory runs out."""
    try:
        return work()
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        return None


def _settings(request: Request) -> tuple[str, ...]:
    """Return what the requests of a batch must have in common."""
    if isinstance(request, Score):
        return ()
    return (repr(request.until), str(request.max_new_tokens), request.options)


def _order(request: Request) -> tuple[object, ...]:
    """Sort the longest first, so that memory runs out at once, and equal contexts together."""
    if isinstance(request, Generate):
        return (-len(request.prompt), request.prompt, request.number)
    return (
        -len(request.context),
        request.context,
        -len(request.continuation),
        request.continuation,
    )
