"""Names of files, and files that a reader sees whole or not at all."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import OutputError


def write_text(path: Path, text: str) -> None:
    """Write a file at once: a reader sees the old one or the new one.

    Raises:
        OutputError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.writing")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


def file_name(name: str) -> str:
    """Return the name of a task as the name of one file or folder."""
    return re.sub(r"[^\w.,=+-]", "_", name).lstrip(".") or "task"


def boundary_folder(folder: Path, boundary: int) -> Path:
    """Return where lm-eval's files of a boundary are."""
    return folder / f"boundary={boundary}"
