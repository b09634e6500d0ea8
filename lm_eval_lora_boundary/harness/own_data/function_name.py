"""The name of a metric that is a function in a file of the user's own; imports no library."""

from __future__ import annotations

import hashlib
from pathlib import Path


def is_function(metric: str | None) -> bool:
    """Return whether a metric is a function in a file."""
    return metric is not None and Path(metric.rpartition(":")[0]).suffix == ".py"


def function_name(metric: str) -> str:
    """Return the name of a function in a file."""
    return metric.rpartition(":")[2]


def function_file(metric: str) -> Path:
    """Return the file of a function."""
    return Path(metric.rpartition(":")[0]).expanduser()


def function_hash(metric: str) -> str:
    """Return a hash of the file of a function."""
    return hashlib.sha256(function_file(metric).read_bytes()).hexdigest()
