"""A folder that appears whole or not at all.

Everything is written to ``.writing-NAME/new`` beside the output, which is locked meanwhile, and
renamed at the end. An older output changes places with the new one in one step, where the system
can do that. A killed process leaves ``.writing-NAME`` behind, which the next run removes. If an
older output had just been moved away, the next run puts it back.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ..cuts.adapter_folder import CONFIG
from ..errors import OutputError, first_line
from ..files import allow_reading, flush, flush_names, lock

# A folder may be replaced if it looks like an adapter or a checkpoint.
_REPLACEABLE = (CONFIG, "config.json")
# Linux's renameat2
_HERE, _EXCHANGE = -100, 2


def check_output(output: Path, *, force: bool, sources: Iterable[Path]) -> None:
    """Refuse an output folder that exists, unless forced, or that holds a source of the export.

    Raises:
        OutputError: It cannot be used.
    """
    if _workspace(output).exists():
        with closing(lock(_workspace(output), shown=output)):
            _clean_up(output)
    for source in sources:
        if output.resolve() in (source.resolve(), *source.resolve().parents):
            raise OutputError(f"output={output} holds {source}, which is read; give another folder")
    if output.is_file():
        raise OutputError(f"output={output} is a file; give a folder")
    if not output.exists():
        return
    _refuse_existing(output, force=force)
    if any(output.iterdir()) and not any((output / name).is_file() for name in _REPLACEABLE):
        raise OutputError(
            f"output={output} holds neither an adapter nor a checkpoint, so --force does not "
            "replace it; give a new folder"
        )


def _refuse_existing(output: Path, *, force: bool) -> None:
    if output.exists() and not force:
        raise OutputError(f"output={output} exists; give a new folder, or --force to replace it")


@contextmanager
def whole_folder(output: Path, *, force: bool) -> Iterator[Path]:
    """Provide a folder to write to, which becomes the output if the block succeeds.

    Raises:
        OutputError: It cannot be written, another process is writing it, or it exists and
            ``force`` is not set.
    """
    workspace = _workspace(output)
    new = workspace / "new"
    with closing(lock(workspace, shown=output)):
        try:
            with writing(output):
                new.mkdir()
            yield new
            with writing(output):
                allow_reading(new)
                flush(new)
                _refuse_existing(output, force=force)  # it may have appeared in the meantime
                if not (output.exists() and _exchange(new, output)):
                    if output.exists():
                        output.rename(workspace / "old")
                    new.rename(output)
                flush_names(output.parent)
        finally:
            _clean_up(output)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; return False if the system cannot do that."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    names = os.fsencode(one), os.fsencode(other)
    return rename is not None and rename(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0


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
    except SafetensorError as error:
        raise OutputError(f"output={output} cannot be written: {first_line(error)}") from error


def _workspace(output: Path) -> Path:
    return output.parent / f".writing-{output.name}"


def _clean_up(output: Path) -> None:
    """Remove what a killed process was writing, and put back what it had moved away."""
    old = _workspace(output) / "old"
    if old.is_dir() and not output.exists():
        old.rename(output)
    shutil.rmtree(_workspace(output), ignore_errors=True)
