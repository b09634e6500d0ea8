"""What a command left, in a form in which equal results are equal."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

# times and the machine in lm-eval's own files, and what training.json says about the way there
_VARYING = {
    *("date", "start_time", "end_time", "total_evaluation_time_seconds"),
    *("git_hash", "pretty_env_info"),
    *("runtime_seconds", "tokens_per_second", "resumed_from_step", "command", "output"),
}
_STAMP = re.compile(r"_\d{4}-\d\d-\d\dT[\d.-]+(?=\.jsonl?$)")
_DATE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC")  # of the run, in report.html
_DATABASE = "answers.sqlite"


def left(folder: Path) -> dict[str, Any]:
    """Return the content of all files below a folder, by name; times are left out."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = _STAMP.sub("", str(path.relative_to(folder)))
        if path.is_dir():
            found[name] = None
        elif path.name == _DATABASE:
            found[name] = answers(path)
        elif (_STAMP.search(path.name) and path.suffix == ".json") or path.name == "training.json":
            found[name] = _without_times(json.loads(path.read_text("utf-8")))
        else:
            content = path.read_bytes().replace(str(folder).encode(), b"FOLDER")
            found[name] = _DATE.sub(b"DATE", content) if path.suffix == ".html" else content
    return found


def answers(database: Path) -> list[Any]:
    """Return the stored answers of a sweep."""
    if not database.exists():
        return []
    try:
        # an open connection would keep the write-ahead log of the command from being removed
        with closing(sqlite3.connect(database)) as connection:
            query = "SELECT * FROM answers_by_cut ORDER BY request, cut"
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:  # killed before there were tables
        return []


def _without_times(content: Any) -> Any:
    if isinstance(content, dict):
        return {k: _without_times(v) for k, v in content.items() if k not in _VARYING}
    return content
