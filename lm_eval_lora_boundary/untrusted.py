"""Read files that strangers may have written: in bounded time and memory, and nothing blocks.

The readers raise ``OSError`` and ``ValueError`` with a reason in one line. Rooms turn it into an
error of their own, which names the file and says what to do.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

_DEEPEST = 100  # JSON of lm-eval, PEFT and this package is less than 20 levels deep
_MOST_VALUES = 5_000_000  # in one JSON text; they may take 30 times the memory of the text
_DIGITS = 18  # of the integers that stay exact; a float has no more anyway


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one.

    A pipe would block until somebody writes to it, and a device may never end.

    Raises:
        OSError: It cannot be opened, or is no regular file; ``strerror`` holds the reason.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a null byte, or half of a character
        raise OSError(errno.EINVAL, "not a valid file name") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return os.fdopen(descriptor, "rb")


def is_regular(path: Path) -> bool:
    """Return whether there is a regular file, also for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether there is a folder, as :func:`is_regular` does."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def read_json(path: Path, most: int) -> Any:
    """Return what a JSON file holds.

    Args:
        path: The file.
        most: The largest size, in bytes.

    Raises:
        OSError: It cannot be read, as in :func:`open_regular`, or is larger.
        ValueError: As in :func:`parse_json`.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes")
        content = file.read(most)
        if content is None:  # the system calls files regular that wait for content, too
            raise OSError(errno.EAGAIN, "it is not a regular file")
    return parse_json(content)


def parse_json(content: bytes, *, repeated_keys: bool = False) -> Any:
    """Return what a JSON text in UTF-8 holds.

    Integers of more digits than any count needs become floats, so that they can be compared and
    formatted like other numbers.

    Args:
        content: The text.
        repeated_keys: Whether an object may have a key twice; the last one counts.

    Raises:
        ValueError: It is not JSON, has a key twice, or is nested or divided beyond all use.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    containers = text.count("[") + text.count("{")
    if containers + text.count(",") > _MOST_VALUES:
        raise ValueError(f"more than {_MOST_VALUES:,} values")
    try:
        found = json.loads(
            text,
            parse_int=_integer,
            object_pairs_hook=None if repeated_keys else _without_repetition,
        )
    except RecursionError as error:
        raise ValueError(f"nested more than {_DEEPEST} levels deep") from error
    if containers > _DEEPEST and _deeper(found):
        raise ValueError(f"nested more than {_DEEPEST} levels deep")
    return found


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else float(digits)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} appears twice")
    return found


def _deeper(found: Any) -> bool:
    """Return whether a JSON value has more levels than any use."""
    level = [found]
    for _ in range(_DEEPEST):
        below = (
            each.values() if isinstance(each, dict) else each
            for each in level
            if isinstance(each, (dict, list))
        )
        level = [each for values in below for each in values]
    return any(isinstance(each, (dict, list)) for each in level)
