"""The answers of a sweep in one SQLite file, so that it can resume at any moment.

An answer is stored under its cut and a hash of everything else that decides it. A batch is one
transaction in a write-ahead log: after a crash, the file holds whole batches.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..cuts.keep import Cut
from ..errors import OutputError
from ..files import lock
from ..forward.requests import Answer, Answers

_PATIENCE = 60.0  # seconds that a process waits while another one writes
_REMEDY = "remove it or choose another --output, and run the same command again"
# the second, if the message about a damaged file quotes what is no text
_ERRORS = (sqlite3.Error, UnicodeDecodeError)
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
            OutputError: Another process works there, the folder cannot be written, or the file is
                not one of this class.
        """
        self._path = folder / "answers.sqlite"
        self._lock = None if joins else lock(folder)
        try:
            if self._path.is_symlink() or (self._path.exists() and not self._path.is_file()):
                raise OutputError(
                    f"{self._path} is a link or no file, and answers are only written to the file "
                    "itself; remove it, or choose another --output"
                )
            self._connection = sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None)
            self._connection.execute("PRAGMA trusted_schema=OFF")
            self._refuse_foreign()
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_SCHEMA)
        except OutputError:
            self._unlock()
            raise
        except _ERRORS as error:
            self._unlock()
            raise OutputError(f"{self._path} cannot be used: {error}; {_REMEDY}") from error
        self._file = self._path.stat()

    def _refuse_foreign(self) -> None:
        """Refuse a file with other tables, or with triggers and views, which act when it is read.

        Raises:
            OutputError: It has some.
        """
        query = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
        found = self._connection.execute(query).fetchall()
        strange = [
            name
            for kind, name, sql in found
            if (name in _TABLES or kind != "table") and _TABLES.get(name) != _columns(sql)
        ]
        if strange or (found and not any(name in _TABLES for _, name, _ in found)):
            raise OutputError(
                f"{self._path} is not a file of answers of this program "
                f"({', '.join(map(str, strange)) or found[0][1]}); {_REMEDY}"
            )

    def get(self, requests: Sequence[bytes], cut: Cut) -> dict[bytes, Answer]:
        """Return the stored answers under a cut, by request key.

        Raises:
            OutputError: The file cannot be read.
        """
        query = (
            "SELECT response, loglikelihood, is_greedy FROM answers_by_cut "
            "WHERE request = ? AND cut = ?"
        )
        found = {
            request: _answer(*row)
            for request in requests
            for row in self._rows(query, request, cut.notation)
        }
        if any(answer is None for answer in found.values()):
            raise OutputError(f"{self._path} holds answers of another type; {_REMEDY}")
        return {request: answer for request, answer in found.items() if answer is not None}

    def cuts(self, requests: Iterable[bytes]) -> dict[bytes, set[str]]:
        """Return the notation of the cuts under which each request has been answered.

        Raises:
            OutputError: The file cannot be read.
        """
        query = "SELECT cut FROM answers_by_cut WHERE request = ?"
        return {
            request: {str(cut) for (cut,) in self._rows(query, request)} for request in requests
        }

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, values).fetchall()
        except _ERRORS as error:
            raise OutputError(
                f"{self._path} cannot be read: {error}. If the file is damaged, {_REMEDY}"
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
        self._check_still_there()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:  # commits, or rolls back
                self._connection.executemany(
                    "INSERT OR IGNORE INTO answers_by_cut VALUES (?, ?, ?, ?, ?)", rows
                )
        except _ERRORS as error:
            raise self._failure(error) from error

    def note(self, name: str, default: str) -> str:
        """Return the first value noted under a name; note ``default`` if there is none.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            self._connection.execute("INSERT OR IGNORE INTO notes VALUES (?, ?)", (name, default))
        except _ERRORS as error:
            raise self._failure(error) from error
        ((value,),) = self._rows("SELECT value FROM notes WHERE name = ?", name)
        return str(value)

    def _check_still_there(self) -> None:
        """Refuse to go on writing to a file that has been removed and is lost in the end."""
        try:
            same = os.path.samestat(self._path.stat(), self._file)
        except OSError:
            same = False
        if not same:
            raise OutputError(
                f"{self._path} was removed or replaced during the run; run the same command again"
            )

    def _failure(self, error: Exception) -> OutputError:
        remedy = "free some space, or choose another --output, then"
        if "locked" in str(error):
            remedy = "end the program that has opened the file, then"
        return OutputError(
            f"{self._path} cannot be written: {error}. Answers stored so far are safe; {remedy} "
            "run the same command again to resume."
        )

    def close(self) -> None:
        """Close the file and release the folder."""
        self._connection.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()


def _columns(sql: str | None) -> str:
    """Return the columns of a table, without comments and spaces."""
    _, bracket, columns = re.sub(r"--[^\n]*", "", sql or "").partition("(")
    return "".join((bracket + columns).split())


_TABLES = {
    name: _columns(columns)
    for name, columns in re.findall(r"EXISTS (\w+) (\(.*?\) WITHOUT ROWID);", _SCHEMA, re.DOTALL)
}


def _answer(response: Any, loglikelihood: Any, is_greedy: Any) -> Answer | None:
    """Return a stored answer; None if it is none, since columns of SQLite take any type."""
    if isinstance(response, str):
        return response
    if response is not None or not isinstance(loglikelihood, (float, int, type(None))):
        return None
    # SQLite stores NaN as NULL
    return (math.nan if loglikelihood is None else float(loglikelihood), bool(is_greedy))
