"""lm-eval's samples files: what was logged for each document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import invalid_sample, read_samples

_REMEDY = "evaluate again"


@dataclass(frozen=True)
class Sample:
    """What lm-eval logged for a document; ``items`` are by metric name."""

    doc_hash: str
    target_hash: str
    prompt_hash: str
    items: Mapping[str, Any]


Documents = Mapping[int, Sample]


class SamplesFiles:
    """Samples files, each read once."""

    def __init__(self) -> None:
        """Start with no file read."""
        self._files: dict[Path, dict[str, dict[int, Sample]]] = {}

    def documents(self, path: Path, filter_name: str) -> Documents:
        """Return the documents in a file under a filter, by ``doc_id``.

        Raises:
            OutputError: The file cannot be read or is not in lm-eval's format.
        """
        if path not in self._files:
            self._files[path] = _read(path)
        return self._files[path].get(filter_name, {})


def _read(path: Path) -> dict[str, dict[int, Sample]]:
    """Return the documents in a file, by filter and ``doc_id``."""
    by_filter: dict[str, dict[int, Sample]] = {}
    for place, content in read_samples(path, _REMEDY):
        doc_id = content["doc_id"]
        try:
            sample = Sample(
                content["doc_hash"],
                content["target_hash"],
                content["prompt_hash"],
                {name: content[name] for name in content["metrics"]},
            )
            documents = by_filter.setdefault(content.get("filter", "none"), {})
        except (KeyError, TypeError) as error:
            raise invalid_sample(place, error, _REMEDY) from error
        if doc_id in documents:
            raise OutputError(f"{place}: document {doc_id} appears twice; {_REMEDY}")
        documents[doc_id] = sample
    return by_filter
