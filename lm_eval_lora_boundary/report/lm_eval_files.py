"""The newest of lm-eval's own files in the folder of a sweep."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import read_object

RERUN = "run the same sweep again; it resumes"


def newest_samples(folder: Path, task: str) -> Path:
    """Return the newest samples file of a task.

    Raises:
        OutputError: There is none.
    """
    # match the date too: the name of a task may be the beginning of another's
    return _newest(folder, re.compile(rf"samples_{re.escape(task)}_\d{{4}}-\d\d-\d\dT.*\.jsonl"))


def newest_results(folder: Path) -> dict[str, Any]:
    """Return the content of the newest results file.

    Raises:
        OutputError: There is none, or it is not a JSON object.
    """
    return read_object(_newest(folder, re.compile(r"results_.*\.json")), RERUN)


def _newest(folder: Path, pattern: re.Pattern[str]) -> Path:
    """Return the last file by name, which ends with a date."""
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    matches = [name for name in names if pattern.fullmatch(name)]
    if not matches:
        kind = pattern.pattern.partition("_")[0]
        raise OutputError(f"{folder} has no {kind} file; {RERUN}")
    return folder / max(matches)
