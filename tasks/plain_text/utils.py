"""Short passages of plain prose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets

FILE = Path(__file__).with_name("passages.txt")


def load(**_: Any) -> datasets.DatasetDict:
    """Return the passages, which are all of the test split.

    In the file, a line of dashes is between two passages, and a line break is only that.
    """
    passages = FILE.read_text(encoding="utf-8").split("\n---\n")
    rows = [{"text": " ".join(passage.split())} for passage in passages]
    return datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})
