"""A folder that appears whole or not at all.

Everything is written to ``.writing-NAME/new`` beside the output and renamed at the end. A killed
process leaves ``.writing-NAME`` behind, which the next run removes. If an older output had just
been moved away, the next run puts it back.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..cuts.adapter_folder import CONFIG
from ..errors import OutputError

# A folder may be replaced if it looks like an adapter or a checkpoint.
_REPLACEABLE = (CONFIG, "config.json")


def check_output(output: Path, *, force: bool, sources: Iterable[Path]) -> None:
    """Refuse an output folder that exists, unless forced, or that holds a source of the export.

    Raises:
        OutputError: It cannot be used.
    """
    _clean_up(output)
    for source in sources:
        if output.resolve() in (source.resolve(), *source.resolve().parents):
            raise OutputError(f"output={output} holds {source}, which is read; give another folder")
    if output.is_file():
        raise OutputError(f"output={output} is a file; give a folder")
    if not output.exists():
        return
    if not force:
        raise OutputError(f"output={output} exists; give a new folder, or --force to replace it")
    if any(output.iterdir()) and not any((output / name).is_file() for name in _REPLACEABLE):
        raise OutputError(
            f"output={output} holds neither an adapter nor a checkpoint, so --force does not "
            "replace it; give a new folder"
        )


@contextmanager
def whole_folder(output: Path) -> Iterator[Path]:
    """Provide a folder to write to, which becomes the output if the block succeeds.

    Raises:
        OutputError: It cannot be written.
    """
    workspace = _workspace(output)
    new = workspace / "new"
    try:
        with writing(output):
            new.mkdir(parents=True)
        yield new
        with writing(output):
            _flush(new)
            if output.exists():
                output.rename(workspace / "old")
            new.rename(output)
            _flush_folder(output.parent)
    finally:
        _clean_up(output)


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Report errors that occur while files are written in one line.

    Raises:
        OutputError: Something cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"output={output} cannot be written: {error.strerror or error}"
        ) from error


def _workspace(output: Path) -> Path:
    return output.parent / f".writing-{output.name}"


def _clean_up(output: Path) -> None:
    """Remove what a killed process was writing, and put back what it had moved away."""
    old = _workspace(output) / "old"
    if old.is_dir() and not output.exists():
        old.rename(output)
    shutil.rmtree(_workspace(output), ignore_errors=True)


def _flush(folder: Path) -> None:
    """Make sure that all files of a folder are on disk before it gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        else:
            _flush_folder(path)
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    """Make sure that the entries of a folder are on disk, if the system can do that."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
