"""Read a user's files row by row, each with its place.

Not by the readers of ``datasets`` where a file is text: these guess types, so that a label such as
``NA``, ``007`` or ``2024-05-01`` comes out changed, and they do not know the line of a bad row.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...errors import TaskError, first_line
from ...untrusted import open_regular, parse_json

Found = Iterator[tuple[str, Any]]  # place and content of each row


def read_file(path: Path) -> tuple[bytes, list[tuple[str, Any]]]:
    """Return a hash of a file's content, and its rows with their places.

    Raises:
        TaskError: It cannot be read, or a line is not what the name of the file says.
    """
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise TaskError(f"data={path} cannot be read: {error.strerror}") from error
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise TaskError(
            f"data={path}: its name ends in {path.suffix or 'nothing'}; expected one of "
            f"{', '.join(_READERS)}"
        )
    rows = list(reader(path, content))
    if not rows:
        raise TaskError(f"data={path} holds no rows")
    return hashlib.sha256(content).digest(), rows


def is_data_file(path: Path) -> bool:
    """Return whether the name of a file says that it holds rows."""
    return path.suffix.lower() in _READERS


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TaskError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from error


def _json_lines(path: Path, content: bytes) -> Found:
    for number, line in enumerate(_text(path, content).split("\n"), 1):
        if line.strip():
            place = f"{path}, line {number}"
            try:
                yield place, parse_json(line.encode())
            except ValueError as error:
                raise TaskError(
                    f"{place}: not JSON ({first_line(error)}); expected one object a line"
                ) from error


def _json(path: Path, content: bytes) -> Found:
    """Read a list of objects; many files of this name hold an object a line instead."""
    text = _text(path, content)
    if not text.lstrip().startswith("["):
        yield from _json_lines(path, content)
        return
    decoder = json.JSONDecoder()
    position = text.index("[") + 1
    line, counted = 1, 0
    while True:
        position = _skip(text, position)
        if text[position : position + 1] == "]":
            break
        line, counted = line + text.count("\n", counted, position), position
        place = f"{path}, line {line}"
        try:
            row, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise TaskError(
                f"{place}: not JSON ({first_line(error)}); expected a list of objects"
            ) from error
        yield place, row
        position = _skip(text, position)
        if text[position : position + 1] not in (",", "]"):
            raise TaskError(f"{place}: the list of objects does not go on after this row")
        position += text[position] == ","


def _skip(text: str, position: int) -> int:
    """Return the position after white space."""
    while text[position : position + 1].isspace():
        position += 1
    return position


def _table(separator: str) -> Callable[[Path, bytes], Found]:
    def read(path: Path, content: bytes) -> Found:
        lines = io.StringIO(_text(path, content), newline="")
        reader = csv.reader(lines, delimiter=separator, strict=True)
        start = 1
        try:
            names = next(reader, [])
            while True:
                start = reader.line_num + 1
                cells = next(reader, None)
                if cells is None:
                    break
                if not cells:
                    continue
                place = f"{path}, line {start}"
                if len(cells) != len(names):
                    raise TaskError(
                        f"{place}: has {len(cells)} fields; expected {len(names)}, as in the first "
                        f"line ({', '.join(names)}); put quotes around a text with {separator!r}"
                    )
                yield place, dict(zip(names, cells, strict=True))
        except csv.Error as error:
            raise TaskError(f"{path}, line {start}: not CSV ({first_line(error)})") from error

    return read


def _parquet(path: Path, content: bytes) -> Found:
    from datasets import Dataset
    from datasets.exceptions import DatasetsError

    del content
    with tempfile.TemporaryDirectory() as cache:  # a copy of the texts would stay in the usual one
        try:
            rows = Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True)
        except (DatasetsError, OSError, ValueError) as error:
            raise TaskError(f"data={path} is not a Parquet file ({first_line(error)})") from error
        for number, row in enumerate(rows, 1):
            yield f"{path}, row {number}", row


_READERS: dict[str, Callable[[Path, bytes], Found]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _table(","),
    ".tsv": _table("\t"),
    ".parquet": _parquet,
}
