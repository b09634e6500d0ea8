"""The answers of a sweep in one SQLite file, so that it can resume at any moment.

An answer is stored under its cut and a hash of everything else that decides it. A batch is one
transaction in a write-ahead log: after a crash, the file holds whole batches.
"""

from __future__ import annotations

import fcntl
import math
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from ..cuts.keep import Cut
from ..errors import OutputError
from ..forward.requests import Answer, Answers

_PATIENCE = 60.0  # seconds that a process waits while another one writes
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers_by_cut (
  request BLOB NOT NULL,
  cut TEXT NOT NULL,        -- in the notation of `keep=`
  response TEXT,            -- of a generation
  loglikelihood REAL,       -- of a continuation
  is_greedy INTEGER,
  PRIMARY KEY (request, cut)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class AnswerStore:
    """The answers in one output folder; used by one run at a time, in one or several processes."""

    def __init__(self, folder: Path, *, joins: bool = False) -> None:
        """Open or create ``answers.sqlite``; ``joins``: another process of the run has opened it.

        Raises:
            OutputError: Another process works there, or the folder cannot be written.
        """
        self._path = folder / "answers.sqlite"
        self._lock = None if joins else _lock(folder)
        try:
            self._connection = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self._unlock()
            raise OutputError(f"{self._path} cannot be used: {error}") from error

    def get(self, requests: Sequence[bytes], cut: Cut) -> dict[bytes, Answer]:
        """Return the stored answers under a cut, by request key.

        Raises:
            OutputError: The file cannot be read.
        """
        query = (
            "SELECT response, loglikelihood, is_greedy FROM answers_by_cut "
            "WHERE request = ? AND cut = ?"
        )
        return {
            request: _answer(*row)
            for request in requests
            for row in self._rows(query, request, cut.notation)
        }

    def cuts(self, requests: Iterable[bytes]) -> dict[bytes, set[str]]:
        """Return the notation of the cuts under which each request has been answered.

        Raises:
            OutputError: The file cannot be read.
        """
        query = "SELECT cut FROM answers_by_cut WHERE request = ?"
        return {request: {cut for (cut,) in self._rows(query, request)} for request in requests}

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise OutputError(
                f"{self._path} cannot be read: {error}. If the file is damaged, remove it or "
                "choose another --output, and run the same command again."
            ) from error

    def put(self, cuts: Sequence[Cut], answers: Iterable[tuple[bytes, Answers]]) -> None:
        """Store the answers of a batch, by request and in the order of the cuts.

        All of them are stored in one transaction.

        Raises:
            OutputError: They cannot be written; earlier answers are safe.
        """
        rows = [
            (
                request,
                cut.notation,
                *((answer, None, None) if isinstance(answer, str) else (None, *answer)),
            )
            for request, under_cuts in answers
            for cut, answer in zip(cuts, under_cuts, strict=True)
        ]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:  # commits, or rolls back
                self._connection.executemany(
                    "INSERT OR IGNORE INTO answers_by_cut VALUES (?, ?, ?, ?, ?)", rows
                )
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def note(self, name: str, default: str) -> str:
        """Return the first value noted under a name; note ``default`` if there is none.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            self._connection.execute("INSERT OR IGNORE INTO notes VALUES (?, ?)", (name, default))
        except sqlite3.Error as error:
            raise self._failure(error) from error
        ((value,),) = self._rows("SELECT value FROM notes WHERE name = ?", name)
        return str(value)

    def _failure(self, error: sqlite3.Error) -> OutputError:
        return OutputError(
            f"{self._path} cannot be written: {error}. Answers stored so far are safe; free some "
            "space, or choose another --output, then run the same command again to resume."
        )

    def close(self) -> None:
        """Close the file and release the folder."""
        self._connection.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()


def _answer(response: str | None, loglikelihood: float | None, is_greedy: int | None) -> Answer:
    if response is not None:
        return response
    # SQLite stores NaN as NULL
    return (math.nan if loglikelihood is None else loglikelihood, bool(is_greedy))


def _lock(folder: Path) -> IO[str]:
    """Lock the folder for this process; the system unlocks it however the process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise OutputError(
            f"another process is working in {folder}; wait for it, or choose another --output"
        ) from error
    except OSError as error:
        file.close()
        raise OutputError(f"{folder} cannot be locked: {error.strerror}") from error
    return file
