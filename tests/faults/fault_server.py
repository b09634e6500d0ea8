"""Runs commands in forked children, each with a fault of its own.

Importing everything takes seconds, so one process does it and forks a child for every attempt. No
code is replaced, except that lm-eval's index of tasks is read once: a fault comes from the system
(signals, limits), or happens when Python reports a file operation to an audit hook.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR
# audit events, and which of their arguments are paths
_EVENTS = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "sqlite3.connect": 1}


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when.

    Attributes:
        point: Number of the file operation in the folder before which it happens.
        cpu: Seconds of CPU time after which it happens.
        signal: What is sent then: SIGKILL ends the process at once, SIGINT is Ctrl-C. 0: nothing
            is sent, and the folder is removed.
        again: Whether it happens before all later file operations, too.
        file_size: Most bytes that a file may have from the start; more is an error of the system.
    """

    point: int | None = None
    cpu: float | None = None
    signal: int = signal.SIGKILL
    again: bool = False
    file_size: int | None = None


@dataclass(frozen=True)
class Attempt:
    """How a command ended.

    Attributes:
        code: Exit status; that of a signal is negative.
        out: What it printed.
        err: What it printed as errors.
        points: Number of file operations in the folder.
        cpu: Seconds of CPU time.
    """

    code: int
    out: str
    err: str
    points: int
    cpu: float


class FaultServer:
    """The process that forks, as seen from the tests."""

    def __init__(self, scratch: Path, include_path: Path, **variables: str) -> None:
        """Start it; ``variables`` are added to its environment."""
        self._scratch = scratch
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        # as the commands themselves do without a terminal, before tqdm is imported
        environment |= {"TQDM_DISABLE": "1"} | variables
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, str(include_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._lines = iter(self._process.stdout or ())
        self._number = 0

    def start(self, folder: Path, *arguments: str, fault: Fault | None = None) -> None:
        """Start a command; ``folder`` is the one whose file operations count."""
        self._number += 1
        job = {
            "number": self._number,
            "arguments": arguments,
            "folder": str(folder),
            "scratch": str(self._scratch),
            "fault": asdict(fault or Fault()),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def finish(self) -> Attempt:
        """Wait for the command that was started last."""
        answer: dict[str, Any] = {}
        while answer.get("number") != self._number:  # a test that timed out left its answers here
            answer = json.loads(next(self._lines))
        texts = [(self._scratch / name).read_text("utf-8") for name in ("out", "err")]
        return Attempt(answer["code"], *texts, answer["points"], answer["cpu"])

    def run(self, folder: Path, *arguments: str, fault: Fault | None = None) -> Attempt:
        """Run a command to its end."""
        self.start(folder, *arguments, fault=fault)
        return self.finish()

    def close(self) -> None:
        with self._process:  # closes its input, so it ends
            pass


def _serve(include_path: str) -> None:
    """Answer jobs until the input ends."""
    with contextlib.redirect_stdout(sys.stderr):
        main = _prepared(include_path)
    for line in sys.stdin:
        job = json.loads(line)
        counted = Path(job["scratch"]) / "points"
        counted.unlink(missing_ok=True)
        with _Printed(Path(job["scratch"])) as printed:
            child = os.fork()
            if child == 0:
                os._exit(_child(main, job, counted, printed))
            _, status, usage = os.wait4(child, 0)
        answer = {
            "number": job["number"],
            "code": os.waitstatus_to_exitcode(status),
            "points": int(counted.read_text() or 0) if counted.exists() else 0,
            "cpu": usage.ru_utime + usage.ru_stime,
        }
        print(json.dumps(answer), flush=True)


class _Printed:
    """Writes what a child prints to files, however large the files of the child may be."""

    def __init__(self, scratch: Path) -> None:
        """Start the writers."""
        self._writers = []
        for name in ("out", "err"):
            with (scratch / name).open("w") as file:
                self._writers.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file))

    def take(self) -> None:
        """Let this process print to them."""
        for number, writer in enumerate(self._writers, 1):
            assert writer.stdin is not None
            os.dup2(writer.stdin.fileno(), number)

    def __enter__(self) -> _Printed:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until everything is written; a worker of the child may still hold the pipes."""
        for writer in self._writers:
            assert writer.stdin is not None
            writer.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                writer.wait(5)


def _prepared(include_path: str) -> Callable[[], None]:
    """Import what the commands need; return the program."""
    import transformers

    from lm_eval_lora_boundary.cli import main
    from lm_eval_lora_boundary.harness.tasks import task_manager

    transformers.utils.logging.disable_progress_bar()
    index = task_manager(include_path)
    for name in ("sweeps.run", "traces.run", "train.data", "exports.api", "compare.terminal"):
        module = vars(importlib.import_module(f"lm_eval_lora_boundary.{name}"))
        if "task_manager" in module:
            module["task_manager"] = lambda *_, **__: index
    importlib.import_module("lm_eval_lora_boundary.train.loop")
    return main


def _child(main: Callable[[], None], job: dict[str, Any], counted: Path, printed: _Printed) -> int:
    """Run a command with its fault, and return the exit status."""
    fault = Fault(**job["fault"])
    printed.take()
    sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", buffering=1) for n in (1, 2))
    sys.argv = ["lora-boundary", *job["arguments"]]
    points = [0]
    code: Any = 0
    try:
        _arm(fault, job["folder"], points)
        main()
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:  # noqa: BLE001 - this is the end of the process
        traceback.print_exc()
        code = 1
    signal.setitimer(signal.ITIMER_PROF, 0)
    points, number = [-1 << 40], points[0]
    with contextlib.suppress(OSError):
        counted.write_text(str(number))
    sys.stdout.flush()
    sys.stderr.flush()
    return int(code)


def _arm(fault: Fault, folder: str, points: list[int]) -> None:
    """Let the fault happen when its time comes."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if fault.file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.file_size, resource.RLIM_INFINITY))
    if fault.cpu is not None:
        # The default action of SIGPROF ends the process as SIGKILL does: no code of it runs.
        interrupts = fault.signal == signal.SIGINT
        signal.signal(signal.SIGPROF, signal.default_int_handler if interrupts else signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, fault.cpu)
    sys.addaudithook(functools.partial(_count, fault, folder, points))


def _count(
    fault: Fault, folder: str, points: list[int], event: str, arguments: tuple[Any, ...]
) -> None:
    """Count an operation on files in the folder, and let the fault happen if it is its turn."""
    if event == "open":
        paths = arguments[:1] if (arguments[2] or 0) & _WRITING else ()
    else:
        paths = arguments[: _EVENTS.get(event, 0)]
    if any(isinstance(path, (str, os.PathLike)) and folder in os.fspath(path) for path in paths):
        points[0] += 1
        due = fault.point is not None and points[0] >= fault.point
        if due and (fault.again or points[0] == fault.point):
            if fault.signal:
                signal.raise_signal(fault.signal)
            else:
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
