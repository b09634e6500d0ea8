"""Look answers up, and have those that are missing answered in batches."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from ..errors import ModelError
from ..forward.requests import Answer, Answers, Generate, Request, Score, key
from ..harness import processes
from .engines import Engine, Engines
from .progress import Progress
from .store import AnswerStore

logger = logging.getLogger("lm_eval.lora_boundary")


# boundaries and requests that an engine answers at once
_Batch = tuple[tuple[int, ...], list[Request]]


@dataclass(frozen=True)
class Work:
    """Requests that all processes answer together.

    Attributes:
        task: Name of their task.
        requests: The requests, of one kind and of the same generation arguments.
        boundaries: The boundaries to answer under.
        rows: Rows in a batch.
        how: Hash of what decides the answers, and of the engine.
    """

    task: str
    requests: list[Request]
    boundaries: list[int]
    rows: int
    how: str


class Answering:
    """Answers requests at a boundary; the first to be asked is answered at all boundaries.

    Attributes:
        boundaries: The boundaries to answer under.
    """

    def __init__(
        self,
        engines: Engines,
        store: AnswerStore,
        identity: str,
        boundaries: Sequence[int],
        rows: int | None,
        progress: Progress,
    ) -> None:
        """Prepare.

        Args:
            engines: What answers.
            store: Where answers are kept.
            identity: What decides an answer besides the request.
            boundaries: The boundaries to answer under.
            rows: Rows in a batch; None for what memory allows.
            progress: Where to report progress.
        """
        self._engines = engines
        self._store = store
        self._identity = identity
        self.boundaries = list(boundaries)
        self._asked = rows
        self._progress = progress

    def __call__(self, requests: Sequence[Request], boundary: int, task: str) -> list[Answer]:
        """Return the answers to requests of one task and kind at a boundary."""
        keys = [self._key(request) for request in requests]
        known = self._store.get(keys, boundary)
        if len(known) < len(set(keys)):
            self._fill(requests, boundary, task)
            known = self._store.get(keys, boundary)
        return [known[each] for each in keys]

    def _key(self, request: Request) -> bytes:
        return key(request, f"{self._identity} {self._engines.engine(request).name}")

    def _fill(self, requests: Sequence[Request], boundary: int, task: str) -> None:
        """Answer what is missing, under all boundaries."""
        boundaries = {*self.boundaries, boundary}
        unique = list(dict.fromkeys(requests))
        for _, same in groupby(sorted(unique, key=_settings), key=_settings):
            alike = sorted(same, key=_order)
            present = self._present(alike)
            # for each of the others, everything has been answered
            lacking = {each for each in boundaries if any(each not in p for p in present)}
            if not lacking:
                continue
            longest = max(request.length for request in alike)
            rows = self._rows(longest, len(boundaries))
            lacking_from_top = sorted(lacking, reverse=True)
            work = Work(task, alike, lacking_from_top, rows, self._how(alike[0]))
            processes.command(work, self.answer_share)

    def _rows(self, longest: int, boundaries: int) -> int:
        """Return how many rows a batch has."""
        if self._asked is None:
            # noted, since a run that is taken up again shall do exactly the same arithmetic
            identity = hashlib.sha256(self._identity.encode()).hexdigest()
            name = f"rows for {longest} tokens, {boundaries} boundaries, {identity}"
            return int(self._store.note(name, str(self._engines.rows_that_fit(longest))))
        return self._asked

    def _present(self, requests: Sequence[Request]) -> list[set[int]]:
        """Return the boundaries at which each request has been answered."""
        keys = [self._key(request) for request in requests]
        found = self._store.boundaries(keys)
        return [found.get(each, set()) for each in keys]

    def answer_share(self, work: Work) -> None:
        """Answer what falls to this process of work: every so many-th batch.

        Raises:
            ModelError: This process would answer in another way than the one that gave the work.
        """
        if self._how(work.requests[0]) != work.how:
            raise ModelError(
                "the processes do not agree on the model or the engine; give --engine toggle, or "
                "launch them on equal devices"
            )
        batches = self._batches(work.requests, work.boundaries, work.rows)
        mine = batches[processes.rank() :: processes.count()]
        documents = sum(len(batch) for _, batch in mine)
        with self._progress.task(work.task, documents, len(work.boundaries)):
            self._answer(work.requests, mine, work.rows)

    def _how(self, request: Request) -> str:
        return hashlib.sha256(
            f"{self._identity} {self._engines.engine(request).name}".encode()
        ).hexdigest()

    def _batches(
        self, alike: Sequence[Request], boundaries: Sequence[int], rows: int
    ) -> list[_Batch]:
        """Return batches that depend on the arguments alone, not on what is stored.

        Nor do they depend on the number of processes: at every boundary, an answer comes from the
        same batch.
        """
        engine = self._engines.engine(alike[0])
        # boundaries one after another fall to several processes, too
        one_by_one = len(boundaries) if processes.count() == 1 else 1
        at_once = rows if engine.rows(2) > engine.rows(1) else one_by_one
        batches: list[_Batch] = []
        for first in range(0, len(boundaries), at_once):
            some = tuple(boundaries[first : first + at_once])
            count = max(1, rows // engine.rows(len(some)))
            batches += [
                (some, list(alike[start : start + count])) for start in range(0, len(alike), count)
            ]
        return batches

    def _answer(self, alike: Sequence[Request], batches: Sequence[_Batch], rows: int) -> None:
        """Answer batches; those from where memory runs out on, in smaller ones."""
        engine = self._engines.engine(alike[0])
        for some, group in groupby(batches, key=lambda each: each[0]):
            same = [batch for _, batch in group]
            done = 0
            note = self._note(alike, some, rows)
            measured = self._store.noted(note)
            if self._memory_suffices(partial(engine.start, alike, some, measured)):
                for batch in same:
                    if not self._answer_batch(engine, batch, some, note):
                        break
                    done += 1
            if done < len(same):
                if rows == 1:
                    raise ModelError(
                        "out of memory with a single row in a batch; give a smaller model, "
                        "shorter prompts or another --device"
                    )
                used = min(rows, len(same[0]) * engine.rows(len(some)))
                logger.warning("out of memory; going on with %d rows per batch", used // 2)
                clear_device_cache(garbage_collection=True)
                rest = [request for batch in same[done:] for request in batch]
                fewer = max(1, used // 2)
                self._answer(rest, self._batches(rest, some, fewer), fewer)

    def _note(self, alike: Sequence[Request], boundaries: Sequence[int], rows: int) -> str:
        """Return the name under which is noted what an engine measures on the way.

        What it does next depends on that, and a run that is taken up again shall do the same.
        """
        asked = hashlib.sha256(b"".join(map(self._key, alike))).hexdigest()
        process = f"process {processes.rank()} of {processes.count()}"
        return f"measured with {rows} rows at {boundaries}, {process}, {asked}"

    def _answer_batch(
        self, engine: Engine, batch: Sequence[Request], boundaries: Sequence[int], note: str
    ) -> bool:
        """Answer a batch unless it is stored; False if memory runs out."""
        keys = [self._key(request) for request in batch]
        if all(present.issuperset(boundaries) for present in self._present(batch)):
            by_boundary = {each: self._store.get(keys, each) for each in boundaries}
            stored = [{each: by_boundary[each][k] for each in boundaries} for k in keys]
            engine.learn(stored)
            self._progress.answered(batch, [])
            return True
        answers: list[Answers] = []
        if not self._memory_suffices(lambda: answers.extend(engine.answer(batch))):
            return False
        notes = {note: engine.measured} if engine.measured else {}
        self._store.put(zip(keys, answers, strict=True), notes)
        self._progress.answered(batch, answers)
        engine.learn(answers)
        return True

    def _memory_suffices(self, work: Callable[[], None]) -> bool:
        """Do something; tell whether there was memory enough."""
        try:
            work()
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            return False
        return True


def _settings(request: Request) -> tuple[str, ...]:
    """Return what requests of a batch have in common."""
    if isinstance(request, Score):
        return ()
    return (repr(request.until), str(request.max_new_tokens), request.options)


def _order(request: Request) -> tuple[object, ...]:
    """Sort longest first, so that running out of memory shows at once; same contexts together."""
    if isinstance(request, Generate):
        return (-len(request.prompt), request.prompt, request.number)
    return (
        -len(request.context),
        request.context,
        -len(request.continuation),
        request.continuation,
    )
