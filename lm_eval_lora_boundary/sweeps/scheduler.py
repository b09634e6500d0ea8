"""Look answers up, and let an engine answer missing ones in batches."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TypeVar

from accelerate.utils.memory import clear_device_cache

from ..cuts.keep import Cut
from ..errors import ModelError, NotFiniteError
from ..forward.requests import Answer, Answers, Generate, Request, Score, key
from ..harness import processes
from ..harness.memory import out_of_memory
from ..harness.sweep_lm import AnswerSource
from .engines import Engines
from .progress import Progress, work_of
from .store import AnswerStore

logger = logging.getLogger("lm_eval.lora_boundary")

_T = TypeVar("_T")
# cuts, and requests to answer together under each of them
_Batch = tuple[tuple[Cut, ...], list[Request]]


@dataclass(frozen=True)
class Work:
    """Requests that all processes answer together.

    Attributes:
        task: Name of their task.
        requests: The requests, of one kind and with the same generation arguments.
        cuts: The cuts to answer them under.
        rows: Rows in a batch.
        how: Hash of everything else that decides the answers, including the engine.
    """

    task: str
    requests: list[Request]
    cuts: list[Cut]
    rows: int
    how: str


class Scheduler:
    """Answers requests from the store; an engine answers missing ones under several cuts."""

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
            identity: Everything that decides an answer besides the request and the cut.
            rows: Rows in a batch; None for as many as memory allows.
            progress: Shows the progress.
        """
        self._engines = engines
        self._store = store
        self._identity = identity
        self._fixed_rows = rows
        self._progress = progress

    def at(self, cut: Cut, among: Sequence[Cut]) -> AnswerSource:
        """Return a function that answers requests under a cut.

        Args:
            cut: The cut.
            among: Cuts that will be needed as well: a request without an answer is answered under
                all of them at once.
        """
        return partial(self._answers, cut=cut, among=among)

    def noted(self, name: str, value: str) -> str:
        """Return what a run on the same model noted under a name first; ``value`` if none did.

        A resumed run must do exactly the same arithmetic.
        """
        identity = hashlib.sha256(self._identity.encode()).hexdigest()
        return self._store.note(f"{name}, {identity}", value)

    def _answers(
        self, requests: Sequence[Request], task: str, *, cut: Cut, among: Sequence[Cut]
    ) -> list[Answer]:
        keys = [self._key(request) for request in requests]
        known = self._store.get(keys, cut)
        if len(known) < len(set(keys)):
            self._fill(requests, {*among, cut}, task)
            known = self._store.get(keys, cut)
        return [known[each] for each in keys]

    def _identity_of(self, request: Request) -> str:
        """Return everything besides request and cut that decides an answer."""
        return f"{self._identity} {self._engines.engine(request).name}"

    def _key(self, request: Request) -> bytes:
        return key(request, self._identity_of(request))

    def _how(self, request: Request) -> str:
        return hashlib.sha256(self._identity_of(request).encode()).hexdigest()

    def _fill(self, requests: Sequence[Request], cuts: set[Cut], task: str) -> None:
        """Answer requests under all cuts under which any of them has no answer."""
        unique = list(dict.fromkeys(requests))
        for _, same in groupby(sorted(unique, key=_settings), key=_settings):
            alike = sorted(same, key=_order)
            present = self._present(alike)
            missing = [cut for cut in cuts if any(cut.notation not in p for p in present)]
            if missing:
                # cuts with the same beginning are next to each other
                missing.sort(key=lambda cut: cut.strengths, reverse=True)
                rows = self._rows(max(request.length for request in alike), len(cuts))
                work = Work(task, alike, missing, rows, self._how(alike[0]))
                processes.command(work, self.answer_share)

    def _rows(self, longest: int, cuts: int) -> int:
        """Return the number of rows in a batch."""
        if self._fixed_rows is not None:
            return self._fixed_rows
        fit = str(self._engines.rows_that_fit(longest))
        return int(self.noted(f"rows for {longest} tokens, {cuts} cuts", fit))

    def _present(self, requests: Sequence[Request]) -> list[set[str]]:
        """Return the notation of the cuts under which each request has been answered."""
        keys = [self._key(request) for request in requests]
        answered = self._store.cuts(keys)
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
        batches = self._batches(work.requests, work.cuts, work.rows)
        mine = batches[processes.rank() :: processes.count()]
        requests = sum(len(batch) for _, batch in mine)
        amount = sum(work_of(batch, len(some)) for some, batch in mine)
        with self._progress.task(work.task, requests, amount, self._described(work)):
            self._answer(work.requests, mine, work.rows)

    def _described(self, work: Work) -> str:
        """Say under which cuts requests are answered, and how much work the cuts share."""
        passes = self._engines.engine(work.requests[0]).passes(work.cuts)
        separate = sum(len(cut.strengths) for cut in work.cuts)
        cuts = f"{len(work.cuts)} cuts"
        share = f", at {passes / separate:.0%} of the work of separate runs"
        return cuts + share if passes < separate else cuts

    def _batches(self, alike: Sequence[Request], cuts: Sequence[Cut], rows: int) -> list[_Batch]:
        """Divide work into batches.

        The batches depend neither on the stored answers nor on the number of processes, so an
        answer always comes from the same batch.
        """
        engine = self._engines.engine(alike[0])
        # An engine that takes one cut after another gets one per batch if there are several
        # processes, so that all of them have work.
        one_by_one = len(cuts) if processes.count() == 1 else 1
        at_once = rows if engine.rows(2) > engine.rows(1) else one_by_one
        batches: list[_Batch] = []
        for first in range(0, len(cuts), at_once):
            some = tuple(cuts[first : first + at_once])
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
                answer = None  # it holds what it has read
                logger.warning("out of memory; continuing with %d rows per batch", fewer)
                clear_device_cache(garbage_collection=True)
                rest = [request for batch in same[done:] for request in batch]
                self._answer(rest, self._batches(rest, some, fewer), fewer)

    def _answer_batch(
        self,
        answer: Callable[[Sequence[Request]], list[Answers]],
        batch: Sequence[Request],
        cuts: Sequence[Cut],
    ) -> bool:
        """Answer a batch unless it is answered already; return False if memory runs out."""
        names = {cut.notation for cut in cuts}
        if all(present >= names for present in self._present(batch)):
            self._progress.answered(batch, len(cuts), stored=True)
            return True
        passes = self._engines.engine(batch[0]).passes(cuts)
        self._progress.begin(batch, len(cuts), passes)
        try:
            answers = _unless_out_of_memory(partial(answer, batch))
        except NotFiniteError as error:
            number = error.cut
            assert isinstance(number, int)  # an engine does not know what cuts are called
            raise NotFiniteError(error.context, error.continuation, str(cuts[number])) from error
        if answers is None:
            return False
        self._store.put(cuts, zip(map(self._key, batch), answers, strict=True))
        self._progress.answered(batch, len(cuts))
        return True


def _unless_out_of_memory(work: Callable[[], _T]) -> _T | None:
    """Return the result of ``work``, or None if memory runs out."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
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
