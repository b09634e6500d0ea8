"""Samples files of lm-eval: what a metric keeps of every document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError


@dataclass(frozen=True)
class Sample:
    """A document as a run saw it.

    Attributes:
        doc_hash: Hash of the document.
        target_hash: Hash of the expected answer.
        prompt_hash: Hash of the prompt.
        items: What lm-eval logged, by name of the metric.
    """

    doc_hash: str
    target_hash: str
    prompt_hash: str
    items: Mapping[str, Any]


Documents = Mapping[int, Sample]


class SamplesFiles:
    """Reads each samples file once."""

    def __init__(self) -> None:
        """Start with nothing read."""
        self._read: dict[Path, dict[str, dict[int, Sample]]] = {}

    def documents(self, path: Path, filter_name: str) -> Documents:
        """Return the documents of a task under a filter, by ``doc_id``.

        Raises:
            OutputError: The file cannot be read, or is not as lm-eval writes it.
        """
        if path not in self._read:
            self._read[path] = _read(path)
        return self._read[path].get(filter_name, {})


def _read(path: Path) -> dict[str, dict[int, Sample]]:
    """Return the documents of a file by filter and ``doc_id``."""
    found: dict[str, dict[int, Sample]] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                _add(found, line, f"{path}, line {number}")
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OutputError(f"{path} is no UTF-8 text; evaluate again") from error
    return found


def _add(found: dict[str, dict[int, Sample]], line: str, where: str) -> None:
    """Add the sample of a line."""
    try:
        content = json.loads(line)
        document = int(content["doc_id"])
        sample = Sample(
            content["doc_hash"],
            content["target_hash"],
            content["prompt_hash"],
            {name: content[name] for name in content["metrics"]},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{where}: not a sample as lm-eval logs it ({error}); evaluate again"
        ) from error
    documents = found.setdefault(content.get("filter", "none"), {})
    if document in documents:
        raise OutputError(f"{where}: document {document} comes twice; evaluate again")
    documents[document] = sample
