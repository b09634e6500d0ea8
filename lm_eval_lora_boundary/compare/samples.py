"""Samples files of lm-eval: what a metric keeps of every document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import no_sample, read_samples

_AGAIN = "evaluate again"


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
    for where, content in read_samples(path, _AGAIN):
        document = content["doc_id"]
        try:
            sample = Sample(
                content["doc_hash"],
                content["target_hash"],
                content["prompt_hash"],
                {name: content[name] for name in content["metrics"]},
            )
            documents = found.setdefault(content.get("filter", "none"), {})
        except (KeyError, TypeError) as error:
            raise no_sample(where, error, _AGAIN) from error
        if document in documents:
            raise OutputError(f"{where}: document {document} comes twice; {_AGAIN}")
        documents[document] = sample
    return found
