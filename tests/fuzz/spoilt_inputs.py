"""Give one input after the other to a target, and see that each is used or refused in one line."""

from __future__ import annotations

import random
import re
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval_lora_boundary.errors import LoraBoundaryError

Attempt = Callable[[random.Random, Path], object]

LONGEST = 2100  # characters of a message
# for one input: of processor time, and on the clock of a machine that does other things as well
BUSY_SECONDS, SECONDS = 30, 300
_GIBIBYTE = 2**30
# what a terminal obeys, and what ends a line
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Target:
    """Something that reads files or texts.

    Attributes:
        prepare: Writes valid files into a folder.
        attempt: Spoils the files in a copy of the folder, and reads them.
    """

    prepare: Callable[[Path], object]
    attempt: Attempt


class Fault(AssertionError):
    """What an input did that none may do."""


def fault(attempt: Attempt, seed: str, folder: Path) -> str | None:
    """Return what is wrong with how an input is treated; None if nothing is."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    try:
        with _limits(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries
            attempt(random.Random(seed), folder)
    except LoraBoundaryError as error:
        message = str(error)
        if CONTROL.search(message) or not message or len(message) > LONGEST:
            return f"no single clean line: {message!r:.300}"
    except (Exception, SystemExit) as error:  # noqa: BLE001 - which is what this looks for
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno} in {last.name}"
        return f"{type(error).__name__}: {error!s:.200} ({place})".replace("\n", " ")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    if grown > 1:
        return f"took {grown:.1f} GiB of memory"
    if (busy := time.process_time() - started) > BUSY_SECONDS:
        return f"took {busy:.0f} s of processor time"
    return None


def faults(target: Target, inputs: int, seed: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the seed of each input that is treated wrongly, and what is wrong.

    Args:
        target: What reads them.
        inputs: How many to try.
        seed: Where the generator starts: with the same seed, the same inputs.
        folder: An empty folder to work in.
    """
    valid, copy = folder / "valid", folder / "copy"
    valid.mkdir(parents=True)
    target.prepare(valid)
    if problem := fault(lambda *_: target.attempt(None, valid), "", valid):  # type: ignore[arg-type]
        raise Fault(f"the valid files: {problem}")
    for number in range(inputs):
        name = f"{seed}/{number}"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(valid, copy)
        if problem := fault(target.attempt, name, copy):
            yield name, problem


@contextmanager
def _limits() -> Iterator[None]:
    """Stop an input that takes too long, and refuse it more than a few GiB of memory."""

    def stop(*_: Any) -> None:
        raise Fault(f"not finished after {SECONDS} s")

    usual = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 4 * _GIBIBYTE
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (most, usual[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, usual)
