"""All rows that a user gives, and which of them a run uses.

Which split a row is in follows from a hash of its prompt, if the file does not say so. It is the
same in every run and on every machine, whatever rows are added, and copies are never divided.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ...errors import TaskError
from ...files import file_name
from .files import is_data_file, read_file
from .rows import Row, check_row, split_named

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
_TRAIN_SHARE = 0.8
_ID = 6  # bytes of a hash in training.json; two of a million rows share them once in 500 runs

Splits = Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class OwnRows:
    """All rows that a user gives.

    Attributes:
        path: The file or folder, as the user named it.
        name: A name for the task.
        sha256: Hash of the content.
        rows: The rows, in the order of the file.
    """

    path: str
    name: str
    sha256: str
    rows: tuple[Row, ...]

    @property
    def are_chats(self) -> bool:
        """Whether the rows are chats; else they are prompts and answers."""
        return self.rows[0].prompt is None

    @property
    def have_splits(self) -> bool:
        """Whether the file says which split a row is in."""
        return self.rows[0].split is not None

    def to_train(self) -> Splits:
        """Return the rows by split, with some to train on.

        Raises:
            TaskError: There are none to train on.
        """
        splits = _divided(self.rows, _TRAIN_SHARE)
        if not splits[TRAIN]:
            raise TaskError(f"data={self.path} has no row in the split {TRAIN}, to train on")
        return splits

    def to_evaluate(self, trained_on: Container[str] = ()) -> Splits:
        """Return the rows for validation and test by split.

        Args:
            trained_on: The ids of rows to leave out.

        Raises:
            TaskError: None is left.
        """
        rows = [row for row in self.rows if row.split != TRAIN]
        kept = [row for row in rows if row_id(row) not in trained_on]
        if not kept:
            why = "the adapter was trained on" if rows else "the file has in the split train"
            raise TaskError(
                f"data={self.path}: all {len(self.rows)} rows are rows that {why}; give others"
            )
        return _divided(kept, 0.0)


def row_id(row: Row) -> str:
    """Return a short hash of a row's prompt, for ``training.json``."""
    return row.digest[:_ID].hex()


def read_rows(given: str) -> OwnRows:
    """Return the rows of a file, or of a folder with a file for each split.

    Raises:
        TaskError: It cannot be read, or a row is not one.
    """
    path = Path(given).expanduser()
    try:
        files = _files(path)
        seen = tuple(
            (file, split, file.stat().st_mtime_ns, file.stat().st_size) for file, split in files
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TaskError(f"data={given} cannot be read: {reason}") from error
    return replace(_read(seen), path=given, name=file_name(path.resolve().stem) or "data")


def uses_template(data: str | None, given: bool | None) -> bool:
    """Return whether prompts have a chat template; by default, if the user's own rows are chats."""
    if given is None and data is not None:
        return read_rows(data).are_chats
    return bool(given)


def _files(path: Path) -> Sequence[tuple[Path, str | None]]:
    """Return the files to read, each with the split that its name says."""
    if not path.is_dir():
        return [(path, None)]
    files = [(file, split_named(file.stem)) for file in sorted(path.iterdir())]
    found = [(file, split) for file, split in files if split and is_data_file(file)]
    if not found:
        raise TaskError(
            f"data={path} is a folder without a file for a split; expected files such as "
            "validation.jsonl and test.jsonl"
        )
    return found


@lru_cache(maxsize=2)
def _read(files: tuple[tuple[Path, str | None, int, int], ...]) -> OwnRows:
    digest, rows = hashlib.sha256(), list[Row]()
    for file, split, *_ in files:
        content, found = read_file(file)
        digest.update(content)
        rows += [_in_split(check_row(place, each), split) for place, each in found]
    first = rows[0]
    for row in rows:
        if (row.prompt is None) != (first.prompt is None):
            kinds = ["prompt" if each.prompt is not None else "messages" for each in (row, first)]
            raise TaskError(
                f"{row.place}: has {kinds[0]}, and the first row has {kinds[1]}; expected rows of "
                "one kind"
            )
        if (row.split is None) != (first.split is None):
            raise TaskError(
                f"{row.place}: has {'no' if row.split is None else 'a'} split, unlike the first "
                "row; expected one in all rows or in none"
            )
    return OwnRows("", "", digest.hexdigest(), tuple(rows))


def _in_split(row: Row, split: str | None) -> Row:
    if split is None or row.split == split:
        return row
    if row.split is not None:
        raise TaskError(f"{row.place}: is in the split {row.split}, and in a file for {split}")
    return replace(row, split=split)


def _divided(rows: Sequence[Row], train: float) -> Splits:
    """Return rows by split.

    Args:
        rows: The rows.
        train: The share to train on, of rows without a split.
    """
    splits: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for row in rows:
        splits[row.split or _by_hash(row, train)].append(row)
    return splits


def _by_hash(row: Row, train: float) -> str:
    digest = row.digest
    if int.from_bytes(digest[8:16], "big") < train * 2**64:
        return TRAIN
    return TEST if digest[16] & 1 else VALIDATION
