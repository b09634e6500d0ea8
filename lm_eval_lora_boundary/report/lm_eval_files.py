"""lm-eval's own files in the folder of a sweep: which of them count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import read_object, read_samples

_AGAIN = "run the same sweep again, which resumes"


def newest_samples(folder: Path, task: str) -> Path:
    """Return the samples file of a task, by name the newest.

    Raises:
        OutputError: There is none.
    """
    # lm-eval ends the name with a date, without which one task's name may begin another's
    return _newest(folder, re.compile(rf"samples_{re.escape(task)}_\d{{4}}-\d\d-\d\dT.*\.jsonl"))


def newest_results(folder: Path) -> dict[str, Any]:
    """Return the content of the results file, by name the newest.

    Raises:
        OutputError: There is none, or it is no JSON object.
    """
    return read_object(_newest(folder, re.compile(r"results_.*\.json")), _AGAIN)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the samples in a file.

    Raises:
        OutputError: The file cannot be read, or a line is no sample.
    """
    for _, sample in read_samples(path, _AGAIN):
        yield sample


def _newest(folder: Path, pattern: re.Pattern[str]) -> Path:
    """Return the last file by name."""
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    matches = [name for name in names if pattern.fullmatch(name)]
    if not matches:
        kind = pattern.pattern.partition("_")[0]
        raise OutputError(f"{folder} holds no {kind} of the sweep; {_AGAIN}")
    return folder / max(matches)
