"""What ``speed.json``, beside ``sweep.json``, says about the time that a token takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import SPEED, read_object
from .checked import AGAIN, cut_name, entries, take
from .data import CutName

_WEIGHTS = ("base_sha256", "adapter_sha256")


def read_speed(folder: Path, sweep: Mapping[str, Any]) -> dict[CutName, tuple[str, ...]]:
    """Return the sentences about each cut; none without the file, or if it has other weights.

    Args:
        folder: The sweep's folder.
        sweep: The content of ``sweep.json``.

    Raises:
        OutputError: The file is damaged.
    """
    path = folder / SPEED
    if not path.is_file():
        return {}
    content = read_object(path, AGAIN)
    if any(content.get(key) != sweep.get(key) for key in _WEIGHTS):
        return {}
    found: dict[CutName, tuple[str, ...]] = {}
    for each in entries(content, "sentences", path):
        cut = cut_name(each, "cut", path)
        found[cut] = (*found.get(cut, ()), take(each, "text", str, path))
    return found
