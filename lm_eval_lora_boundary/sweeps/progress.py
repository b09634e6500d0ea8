"""A progress bar, silent unless the output is a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from ..errors import inert
from ..forward.requests import Answers, Request, Score
from ..harness import processes


class Progress:
    """Shows documents, cuts, layer passes, tokens per second and the time left."""

    def __init__(self, count_tokens: Callable[[str], int]) -> None:
        """Prepare; ``count_tokens`` returns the number of tokens in a response."""
        self._count_tokens = count_tokens
        self._bar: tqdm[None] | None = None
        self._tokens = self._done = 0
        self._started = 0.0

    @contextmanager
    def task(
        self, name: str, requests: int, cuts: int, passes: int, separate: int
    ) -> Iterator[None]:
        """Show the progress on the requests of a task, in the first process.

        Args:
            name: The task.
            requests: Number of its requests.
            cuts: Number of cuts that they are answered under.
            passes: Layer passes that a token of a prompt takes.
            separate: Layer passes that it would take if the cuts ran one by one.

        Raises:
            KeyboardInterrupt: There was one; its text says how far the task got.
        """
        several = f", process 1 of {processes.count()}" if processes.count() > 1 else ""
        text = f"{inert(name)} × {cuts} in {passes} of {separate} layer passes{several}"
        # None: silent unless the output is a terminal
        disable = True if processes.rank() else None
        self._bar = tqdm(total=requests, unit="doc", desc=text, disable=disable)
        self._tokens, self._done, self._started = 0, 0, time.perf_counter()
        try:
            yield
        except KeyboardInterrupt as interrupt:
            reached = f"after {self._done:,} of {requests:,} requests of {name}{several}"
            raise KeyboardInterrupt(reached) from interrupt
        finally:
            self._bar.close()
            self._bar = None

    def answered(self, requests: Sequence[Request], answers: Sequence[Answers]) -> None:
        """Count requests, and the tokens of new answers as if each cut had run alone."""
        self._done += len(requests)
        if self._bar is None or self._bar.disable:
            return
        for request, under_cuts in zip(requests, answers, strict=False):
            read = request.length if isinstance(request, Score) else len(request.prompt)
            written = (text for text in under_cuts if isinstance(text, str))
            self._tokens += read * len(under_cuts) + sum(map(self._count_tokens, written))
        seconds = time.perf_counter() - self._started
        self._bar.set_postfix_str(f"{self._tokens / seconds:,.0f} tokens/s", refresh=False)
        self._bar.update(len(requests))
