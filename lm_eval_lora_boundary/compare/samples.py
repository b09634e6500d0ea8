"""lm-eval's samples files: what was logged for each document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import invalid_sample, read_samples
from ..upstream.lm_eval import hash_string

_REMEDY = "evaluate again"
# what a line holds besides the metrics, in any version of lm-eval
_FIELDS = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash"),
}
_UNNAMED = ""  # the filter of lines that do not name one


@dataclass(frozen=True)
class Sample:
    """What lm-eval logged for a document.

    Attributes:
        doc_hash: Hash of its content.
        target_hash: Hash of its target.
        prompt_hash: Hash of its prompt; empty if an older lm-eval did not record it.
        items: What the metrics are computed from, by metric name.
        cluster: What it belongs to; None if that is not known.
    """

    doc_hash: str
    target_hash: str
    prompt_hash: str
    items: Mapping[str, Any]
    cluster: str | None = None

    @property
    def document(self) -> tuple[str, str]:
        """What is the same wherever this document is asked: its content and its target."""
        return self.doc_hash, self.target_hash


Documents = Mapping[int, Sample]


@dataclass
class _File:
    """A samples file: documents by filter and ``doc_id``, or why they cannot be used."""

    by_filter: dict[str, dict[int, Sample]] = field(default_factory=dict)
    unusable: str | None = None


class SamplesFiles:
    """Samples files, each read once."""

    def __init__(self) -> None:
        """Start with no file read."""
        self._files: dict[tuple[Path, str | None], _File] = {}

    def documents(self, path: Path, filter_name: str, cluster: str | None) -> Documents:
        """Return the documents in a file under a filter, by ``doc_id``.

        Args:
            path: The file.
            filter_name: The filter.
            cluster: Field of a document that says what it belongs to.

        Raises:
            OutputError: The file cannot be read or is not in lm-eval's format.
        """
        file = self._read(path, cluster)
        if file.unusable is not None:
            return {}
        return file.by_filter.get(filter_name) or file.by_filter.get(_UNNAMED, {})

    def unusable(self, path: Path, cluster: str | None) -> str | None:
        """Return why a file of an older lm-eval cannot be used, or None if it can.

        Raises:
            OutputError: The file cannot be read or is not in lm-eval's format.
        """
        return self._read(path, cluster).unusable

    def _read(self, path: Path, cluster: str | None) -> _File:
        place = (path, cluster)
        if place not in self._files:
            self._files[place] = _read(path, cluster)
        return self._files[place]


def _read(path: Path, cluster: str | None) -> _File:
    file = _File()
    for place, content in read_samples(path, _REMEDY):
        doc_id = content["doc_id"]
        try:
            sample = _sample(content, cluster)
            filter_name = content.get("filter", _UNNAMED)
            documents = file.by_filter.setdefault(filter_name, {})
        except (KeyError, TypeError) as error:
            raise invalid_sample(place, error, _REMEDY) from error
        if doc_id in documents:
            if filter_name != _UNNAMED:
                raise OutputError(f"{place}: document {doc_id} appears twice; {_REMEDY}")
            file.unusable = "an older lm-eval wrote them and did not say which filter a line is of"
        documents[doc_id] = sample
    return file


def _hashed(text: str) -> str:
    # UTF-8 has no halves of characters, which JSON can hold
    return str(hash_string(text.encode("utf-8", "replace").decode()))


def _sample(content: Mapping[str, Any], cluster: str | None) -> Sample:
    """Return a line as a sample; hashes and names of metrics are missing in old files."""
    names = content.get("metrics", [name for name in content if name not in _FIELDS])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("its metrics are not a list of names")
    doc_hash, target_hash = content.get("doc_hash"), content.get("target_hash")
    if doc_hash is None:  # as lm-eval computes it
        doc_hash = _hashed(json.dumps(content["doc"], indent=2, ensure_ascii=False))
    if target_hash is None:
        target_hash = _hashed(str(content["target"]))
    prompt_hash = content.get("prompt_hash") or ""
    for each in (doc_hash, target_hash, prompt_hash, content.get("filter", _UNNAMED)):
        if not isinstance(each, str):
            raise TypeError(f"a hash or filter is {each!r:.60}, not text")
    items = {name: content[name] for name in names}
    return Sample(doc_hash, target_hash, prompt_hash, items, _belongs_to(content, cluster))


def _belongs_to(content: Mapping[str, Any], cluster: str | None) -> str | None:
    """Return a field of a document as text, since it may hold anything."""
    document = content.get("doc")
    if cluster is None or not isinstance(document, dict) or cluster not in document:
        return None
    return json.dumps(document[cluster], sort_keys=True)
