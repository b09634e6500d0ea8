"""Ctrl-C: one line that says what is kept, and exit status 130, as shells expect."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from ..harness import processes


def interruptible(command: Callable[..., Any], kept: str) -> Callable[..., Any]:
    """Return a command that ends in one line if it is interrupted.

    Args:
        command: The command. It may raise a KeyboardInterrupt whose text says how far it got.
        kept: What an interrupted run leaves, and what to do; the end of the line.
    """

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            # Nothing is left to do, so a second Ctrl-C ends the process at once.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if processes.rank() == 0:
                reached = f" {interrupt}" if str(interrupt) else ""
                print(f"lora-boundary: interrupted{reached}; {kept}", file=sys.stderr, flush=True)
            raise SystemExit(130) from None

    return run
