"""Where results are: files, lm-eval's output folders, folders of sweeps."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import SWEEP, read_object


@dataclass(frozen=True)
class Source:
    """Results that were found together.

    Attributes:
        path: The file, the folder that holds the files, or the folder of a sweep.
        files: Results files, newest first; none for a sweep.
        sweep: Whether it is the folder of a sweep.
    """

    path: Path
    files: tuple[Path, ...] = ()
    sweep: bool = False


def locate(given: str | Path) -> list[Source]:
    """Return what a path stands for.

    A folder is searched with all below it; what is inside the folder of a sweep belongs to that.

    Args:
        given: A results file of lm-eval, a folder that holds some, or the folder of a sweep.

    Raises:
        OutputError: It does not exist, or holds no results.
    """
    path = Path(given).expanduser()
    if path.is_file():
        if path.name == SWEEP:
            return [Source(path.parent, sweep=True)]
        if path.suffix != ".json":
            raise OutputError(
                f"{path} is no results file; expected results_*.json, a folder that holds such "
                "files, or the folder of a sweep"
            )
        return [Source(path, (path,))]
    if not path.is_dir():
        raise OutputError(
            f"{path} does not exist; expected a results_*.json file, a folder that holds such "
            "files, or the folder of a sweep"
        )
    found = _search(path)
    if not found:
        raise OutputError(
            f"{path} holds no results_*.json and no {SWEEP}; expected what `lm_eval "
            "--output_path` or `lora-boundary sweep --output` writes"
        )
    return found


def _search(folder: Path) -> list[Source]:
    """Return the sources in a folder and below, by name."""
    found = []
    for root, folders, names in os.walk(folder):
        here = Path(root)
        if SWEEP in names:
            folders.clear()
            found.append(Source(here, sweep=True))
            continue
        # a hidden folder may be one that is being written
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        # the names hold dates that sort as text
        results = sorted(here.glob("results_*.json"), reverse=True)
        if results:
            found.append(Source(here, tuple(results)))
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        OutputError: The file cannot be read, or holds something else.
    """
    return read_object(
        path, "a run that was interrupted may have left it: delete it or evaluate again"
    )
