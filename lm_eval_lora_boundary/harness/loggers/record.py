"""What has been logged already, so that the same command logs the rest and nothing twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...files import LOGGED, read_object, write_text

_REMEDY = "remove it, and everything is logged again"


class Record:
    """The file ``logged.json`` of an output folder; it holds names and hashes, no arguments."""

    def __init__(self, output: Path, target: str, arguments: Mapping[str, Any], run: str) -> None:
        """Read what was logged.

        Args:
            output: The output folder.
            target: Where it went: ``hub``, ``wandb`` or ``trackio``.
            arguments: How it was logged. With others, it is logged again.
            run: What identifies the results: the signature.

        Raises:
            OutputError: The file is damaged.
        """
        self._path = output / LOGGED
        public = {name: value for name, value in arguments.items() if name != "token"}
        self._key = f"{target} {_hash([public, run])}"
        self._logged: set[str] = set(self._content().get(self._key, ()))

    def __contains__(self, name: str) -> bool:
        """Return whether this has been logged."""
        return name in self._logged

    def add(self, *names: str) -> None:
        """Note what has been logged.

        Raises:
            OutputError: The file cannot be written.
        """
        self._logged |= set(names)
        content = self._content() | {self._key: sorted(self._logged)}
        write_text(self._path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def _content(self) -> dict[str, Any]:
        return read_object(self._path, _REMEDY) if self._path.is_file() else {}


def identified(name: str, content: object) -> str:
    """Return a name with a hash of its content."""
    return f"{name} {_hash(content)}"


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
