"""What tests of traces share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_tasks import SPLITS

Tiny = Callable[..., tuple[Path, Path]]
Run = Callable[..., dict[str, Any]]
DOCUMENTS, _ = SPLITS["validation"]


def lines(folder: Path, task: str) -> list[dict[str, Any]]:
    text = (folder / f"trace_documents_{task}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]
