"""What several rooms need for files: names, safe writing, and reading JSON and lm-eval's samples.

The readers stand here because the report and the compare room both use them and may not import
each other.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from weakref import WeakSet

from .errors import OutputError
from .untrusted import open_regular, parse_json, read_json

SWEEP = "sweep.json"
ROWS = "sweep.csv"
UNFINISHED = "unfinished.json"  # the settings of a sweep, until it has ended
TRACE = "trace.json"
SPEED = "speed.json"
LOGGED = "logged.json"  # what has gone to the hub, to W&B or to trackio
REPORT = "report.html"
PLOTS = "plots"  # folder
CONFIRMED = "test"  # folder with the results of the choice on the test split
CONTROL = "control"  # folder with the results of the control tasks

_LONGEST_NAME = 200  # bytes; file systems take 255
_LARGEST = 256 * 2**20  # bytes of a JSON file, or of one line of samples

NO_CLUSTERS = "none"  # the setting of a sweep whose documents count as unrelated
# names of models in trace.json
TRACED_FULL = "full"
TRACED_BASE = "base"


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the old content or the new one.

    Raises:
        OutputError: The file cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically, as :func:`write_text` does.

    Raises:
        OutputError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        temporary.unlink(missing_ok=True)  # a link there would lead out of the folder
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        except BaseException:  # Ctrl-C, too
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def lock(folder: Path, name: str = ".lock", shown: Path | None = None) -> IO[str]:
    """Lock a folder, which is created, for this process; close the result to unlock it.

    The system unlocks it however the process ends.

    Args:
        folder: The folder.
        name: File in it that is locked.
        shown: What to call the folder in messages; None for its name.

    Raises:
        OutputError: Another process has locked it, or it cannot be written.
    """
    import fcntl  # not on Windows, where tables and reports of copied results still work

    path, shown = folder / name, shown or folder
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # not through a link, and without waiting for the other end of a pipe
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.fdopen(os.open(path, flags, 0o666), "w")
        except OSError as error:
            raise OutputError(f"{shown} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise OutputError(
                f"another process is working in {shown}; wait for it, or choose another --output"
            ) from error
        except OSError as error:
            file.close()
            raise OutputError(f"{shown} cannot be locked: {error.strerror}") from error
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            _LOCKS.add(file)
            return file
        file.close()  # the process that had locked it has just removed it


# Workers that are forked while a folder is locked would hold the lock too, and can outlive this
# process if it is killed: lm-eval forks some to resample corpus metrics.
_LOCKS: WeakSet[IO[str]] = WeakSet()


def _let_go() -> None:
    for file in _LOCKS:
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def allow_reading(folder: Path) -> None:
    """Give the files of a folder the permissions that a new file gets (the umask's).

    Some libraries write files that only their owner may read, such as safetensors.

    Raises:
        OSError: The permissions cannot be set.
    """
    new = folder / ".new"
    new.touch()
    allowed = new.stat().st_mode & 0o666
    new.unlink()
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode & allowed != allowed:
            path.chmod(stat.S_IMODE(mode) | allowed)


def flush(folder: Path) -> None:
    """Make sure that all files of a folder and their names are on disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        else:
            flush_names(path)
    flush_names(folder)


def flush_names(folder: Path) -> None:
    """Make sure that the names in a folder are on disk, if the system can do that."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def file_name(name: str) -> str:
    """Return the name of a task as a safe name for a file or folder."""
    safe = re.sub(r"[^\w.,=+-]", "_", name).lstrip(".") or "task"
    if len(safe.encode()) <= _LONGEST_NAME:
        return safe
    start = safe.encode()[: _LONGEST_NAME - 17].decode("utf-8", "ignore")
    return f"{start}={hashlib.sha256(safe.encode()).hexdigest()[:16]}"


def boundary_folder(folder: Path, boundary: int) -> Path:
    """Return the folder with lm-eval's files of a boundary."""
    return folder / f"boundary={boundary}"


def cut_folder(folder: Path, name: int | str) -> Path:
    """Return the folder with lm-eval's files of a cut.

    Args:
        folder: The output folder of a sweep.
        name: The cut's boundary, or the notation of a cut that is no boundary.
    """
    if isinstance(name, int):
        return boundary_folder(folder, name)
    # a notation has no such characters, but a file may name any cut
    name = re.sub(r"[^ -.0-~]", "_", name)
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()
        name = f"{name[:_LONGEST_NAME]}…{digest[:16]}"
    return folder / f"cut={name}"


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        path: The file.
        remedy: What to do if the file is damaged; the end of the error message.

    Raises:
        OutputError: The file cannot be read, or does not contain a JSON object.
    """
    try:
        content = read_json(path, _LARGEST)
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise OutputError(f"{path} is not JSON ({error}); {remedy}") from error
    if not isinstance(content, dict):
        raise OutputError(f"{path} holds no JSON object; {remedy}")
    return content


def read_samples(path: Path, remedy: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the samples in a file of lm-eval, each after its place (file and line) for messages.

    Args:
        path: The file.
        remedy: What to do if the file is damaged; the end of the error message.

    Raises:
        OutputError: The file cannot be read, or a line is not a sample.
    """
    try:
        with open_regular(path) as file:
            number = 0
            while line := file.readline(_LARGEST):
                number += 1
                yield _sample(line, f"{path}, line {number}", remedy)
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}") from error


def _sample(line: bytes, where: str, remedy: str) -> tuple[str, dict[str, Any]]:
    try:
        # documents are other people's, so they may have a key twice
        sample = parse_json(line, repeated_keys=True)
    except ValueError as error:
        raise invalid_sample(where, error, remedy) from error
    number = sample.get("doc_id") if isinstance(sample, dict) else None
    if isinstance(number, bool) or not isinstance(number, int):
        raise invalid_sample(where, "its doc_id is not a whole number", remedy)
    return where, sample


def invalid_sample(where: str, reason: object, remedy: str) -> OutputError:
    """Return the error for a line that is not a sample as lm-eval logs it."""
    return OutputError(f"{where}: not a sample as lm-eval logs it ({reason}); {remedy}")
