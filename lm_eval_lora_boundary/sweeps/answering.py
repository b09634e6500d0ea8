"""Look answers up, and have those that are missing answered in batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import groupby

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from .engines import Engine, Engines
from .progress import Progress
from .requests import Answer, Answers, Generate, Request, Score, key
from .store import AnswerStore

logger = logging.getLogger("lm_eval.lora_boundary")


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
        self._rows = rows
        self._progress = progress

    @property
    def rows(self) -> int:
        """Rows in a batch."""
        return self._rows or 1

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
        if self._rows is None:
            longest = max(request.length for request in requests)
            # noted, since a run that is taken up again shall do exactly the same arithmetic
            self._rows = int(self._store.note("rows", str(self._engines.rows_that_fit(longest))))
        unique = list(dict.fromkeys(requests))
        for _, same in groupby(sorted(unique, key=_settings), key=_settings):
            alike = sorted(same, key=_order)
            by_missing: dict[tuple[int, ...], list[Request]] = {}
            keys = [self._key(request) for request in alike]
            present = self._store.boundaries(keys)
            for request, each in zip(alike, keys, strict=True):
                missing = tuple(sorted(boundaries - present.get(each, set()), reverse=True))
                by_missing.setdefault(missing, []).append(request)
            by_missing.pop((), None)
            for missing, some in by_missing.items():
                with self._progress.task(task, len(some), len(missing)):
                    self._answer(alike, some, missing)

    def _answer(
        self, alike: Sequence[Request], missing: Sequence[Request], boundaries: Sequence[int]
    ) -> None:
        """Answer some of the requests under boundaries that all of these lack."""
        engine = self._engines.engine(missing[0])
        at_once = self.rows if engine.rows(2) > engine.rows(1) else len(boundaries)
        for first in range(0, len(boundaries), at_once):
            some = boundaries[first : first + at_once]
            engine.start(alike, some)
            rest = list(missing)
            engine.learn(self._before(alike, rest[0], some))
            while rest:
                per_request = engine.rows(len(some))
                if per_request > self.rows:  # memory has run out
                    self._answer(alike, rest, some)
                    break
                batch = rest[: self.rows // per_request]
                answers = self._try(engine, batch, per_request)
                if answers is None:
                    continue
                keys = [self._key(request) for request in batch]
                self._store.put(zip(keys, answers, strict=True))
                self._progress.answered(batch, answers)
                engine.learn(answers)
                rest = rest[len(batch) :]

    def _before(
        self, alike: Sequence[Request], first: Request, boundaries: Sequence[int]
    ) -> list[Answers]:
        """Return what is stored for the batch before ``first``, if a run was interrupted there."""
        count = max(1, self.rows // len(boundaries))
        batch = alike[max(0, alike.index(first) - count) : alike.index(first)]
        keys = [self._key(request) for request in batch]
        by_boundary = {boundary: self._store.get(keys, boundary) for boundary in boundaries}
        return [
            {boundary: found[each] for boundary, found in by_boundary.items() if each in found}
            for each in keys
        ]

    def _try(
        self, engine: Engine, batch: Sequence[Request], per_request: int
    ) -> list[Answers] | None:
        """Answer a batch; None, and fewer rows from now on, if memory runs out."""
        try:
            return engine.answer(batch)
        except RuntimeError as error:
            if self.rows == 1 or not should_reduce_batch_size(error):
                raise
        # outside of the handler, which holds on to the memory
        self._rows = max(1, min(self.rows, len(batch) * per_request) // 2)
        logger.warning("out of memory; going on with %d rows per batch", self.rows)
        clear_device_cache(garbage_collection=True)
        return None


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
