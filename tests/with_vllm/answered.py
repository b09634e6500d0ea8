"""Answers in lm-eval's files, and whether two of them are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def samples(folder: Path, task: str) -> list[Any]:
    """Return the responses to every document from lm-eval's samples file."""
    (file,) = folder.rglob(f"samples_{task}_*.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [row["resps"] for row in sorted(rows, key=lambda row: row["doc_id"])]


def alike(ours: Any, theirs: Any) -> bool:
    """Return whether answers are the same: strings exactly, log-likelihoods within 1e-4."""
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(alike, ours, theirs))
    if isinstance(ours, str):
        # lm-eval's `vllm` keeps special tokens, `hf` does not
        ours, theirs = (
            " ".join(word for word in text.split() if not word.startswith("<"))
            for text in (ours, theirs)
        )
    try:
        return ours == theirs or abs(float(ours) - float(theirs)) <= 1e-4
    except ValueError:
        return False
