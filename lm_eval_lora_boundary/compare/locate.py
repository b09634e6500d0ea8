"""Find results: single files, lm-eval's output folders and sweep folders."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import SWEEP, read_object
from ..untrusted import is_folder, is_regular


@dataclass(frozen=True)
class Source:
    """A results file, a folder with results files (newest first), or a sweep folder (no files)."""

    path: Path
    files: tuple[Path, ...] = ()
    sweep: bool = False


def locate(given: str | Path) -> list[Source]:
    """Return the results that a path stands for.

    It may be a results file of lm-eval, a folder that contains some, or a sweep folder. Folders are
    searched recursively. Everything inside a sweep folder belongs to the sweep.

    Raises:
        OutputError: The path does not exist or holds no results.
    """
    path = Path(given).expanduser()
    expected = "expected results_*.json, a folder that contains such files, or a sweep folder"
    if is_regular(path):
        if path.name == SWEEP:
            return [Source(path.parent, sweep=True)]
        if path.suffix != ".json":
            raise OutputError(f"{path} is not a results file; {expected}")
        return [Source(path, (path,))]
    if not is_folder(path):
        raise OutputError(f"{path} does not exist; {expected}")
    sources = _search(path)
    if not sources:
        raise OutputError(
            f"{path} holds no results_*.json and no {SWEEP}; expected the output of `lm_eval "
            "--output_path` or `lora-boundary sweep --output`"
        )
    return sources


def _search(folder: Path) -> list[Source]:
    """Return the sources in a folder and below it, sorted by name."""
    sources = []
    for root, folders, names in os.walk(folder):
        path = Path(root)
        if SWEEP in names:
            folders.clear()
            sources.append(Source(path, sweep=True))
            continue
        # a hidden folder may still be being written
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        # the names contain dates that sort as text
        files = sorted(path.glob("results_*.json"), reverse=True)
        if files:
            sources.append(Source(path, tuple(files)))
    return sources


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        OutputError: The file cannot be read or does not hold a JSON object.
    """
    return read_object(
        path, "it may be left over from an interrupted run: delete it or evaluate again"
    )
