"""One progress bar; nothing where the output is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

from ..forward.requests import Answers, Generate, Request, Score
from ..harness import processes


class Progress:
    """Shows documents, boundaries, tokens per second and the time left."""

    def __init__(self, count_tokens: Callable[[str], int]) -> None:
        """Prepare; nothing is shown before there is something to do.

        Args:
            count_tokens: Number of tokens of a response.
        """
        self._count_tokens = count_tokens
        self._bar: tqdm[None] | None = None
        self._tokens = 0
        self._started = 0.0

    @contextmanager
    def task(self, name: str, requests: int, boundaries: int) -> Iterator[None]:
        """Show the progress of the requests of a task; of several processes, that of the first."""
        several = f", process 1 of {processes.count()}" if processes.count() > 1 else ""
        # None: quiet unless the output is a terminal
        disable = True if processes.rank() else None
        text = f"{name} × {boundaries}{several}"
        self._bar = tqdm(total=requests, unit="doc", desc=text, disable=disable)
        self._tokens, self._started = 0, time.perf_counter()
        try:
            yield
        finally:
            self._bar.close()
            self._bar = None

    def answered(self, requests: Sequence[Request], answers: Sequence[Answers]) -> None:
        """Count requests that have been answered; tokens as if each boundary had run alone.

        Without answers, the requests had been answered before.
        """
        if self._bar is None or self._bar.disable:
            return
        for request, by_boundary in zip(requests, answers, strict=False):
            if isinstance(request, Score):
                self._tokens += request.length * len(by_boundary)
            elif isinstance(request, Generate):
                self._tokens += len(request.prompt) * len(by_boundary)
                self._tokens += sum(
                    self._count_tokens(answer)
                    for answer in by_boundary.values()
                    if isinstance(answer, str)
                )
        seconds = time.perf_counter() - self._started
        self._bar.set_postfix_str(f"{self._tokens / seconds:,.0f} tokens/s", refresh=False)
        self._bar.update(len(requests))
