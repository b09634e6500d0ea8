"""How far a long job is: one bar in a terminal, and one line a minute anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from . import processes

_TERMINAL = 0.2  # seconds between two updates
_ELSEWHERE = 60.0
_SETTLING = 2.0  # seconds of work after which the time left can be estimated


class Display:
    """Shows how far a job is, in the first process; close it, or use it as a context."""

    def __init__(self, job: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is shown yet.

        Args:
            job: What is being done, in a word or two.
            clock: Returns the time in seconds.
        """
        self._job = job
        self._clock = clock
        self._started: float | None = None
        self._shown = clock()
        self._shows = processes.rank() == 0
        self._bar: tqdm[None] | None = None
        self._scope = ExitStack()
        if self._shows and sys.stderr.isatty():
            name = job.replace("{", "{{").replace("}", "}}")
            self._bar = tqdm(
                total=1.0,
                bar_format=f"{name} {{percentage:3.0f}}% |{{bar}}| {{desc}}",
                dynamic_ncols=True,
                leave=False,
                disable=False,
            )
            # messages are printed above the bar, and not beside it
            self._scope.enter_context(logging_redirect_tqdm())

    def __enter__(self) -> Display:
        """Return the display."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the display."""
        self.close()

    def show(self, done: float, total: float, text: str = "", *, stored: float = 0.0) -> None:
        """Show how far the job is, unless that was shown a moment ago.

        Args:
            done: Work that is done, in any unit.
            total: All work.
            text: How far it is, in words.
            stored: How much of ``done`` an earlier run had done, which took this one no time.
        """
        if not self._shows:
            return
        now = self._clock()
        if self._started is None:
            self._started = now
        if now - self._shown < (_ELSEWHERE if self._bar is None else _TERMINAL):
            return
        self._shown = now
        share = min(done / total, 1.0) if total else 1.0
        left = _time_left(now - self._started, done - stored, total - done)
        if self._bar is None:
            words = ", ".join(filter(None, (text, left)))
            percentage = int(100 * share)  # 100 % is for what is finished
            print(f"{self._job}: {percentage} % done; {words}", file=sys.stderr, flush=True)
        else:
            self._bar.set_description_str(", ".join(filter(None, (text, left))), refresh=False)
            self._bar.n = share
            self._bar.refresh()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
        self._scope.close()


@contextmanager
def counting(job: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many of ``total`` things are done; call the result with how many more are."""
    done = 0
    with Display(job) as display:

        def more(count: int) -> None:
            nonlocal done
            done += count
            display.show(done, total, f"{done:,} of {total:,}")

        display.show(0, total)
        yield more


def duration(seconds: float) -> str:
    """Return a duration as people say it: ``40 s``, ``12 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _time_left(elapsed: float, done: float, left: float) -> str:
    """Return how long the rest takes, or "" if that cannot be said yet."""
    if done <= 0 or left <= 0 or elapsed < _SETTLING:
        return ""
    return f"about {duration(elapsed * left / done)} left"
