"""How large a cut is, against the whole adapter."""

from __future__ import annotations

from .data import CutName, Row, TaskFound
from .formatting import NOT_AVAILABLE, percent, size


def size_facts(task: TaskFound, name: CutName, full: int | None) -> list[str]:
    """Return how large a cut is, in a few parts: layers, parameters ("447,744 of 610,560"), MB."""
    row, whole = task.row(name), task.row(full)
    if row is None:
        return []
    layers = row.kept_layers
    if full is None or layers is None:
        found = [] if layers is None else [f"{layers} layers"]
    else:
        found = [f"{layers} of {full + 1} layers" if name != full else f"{layers} layers"]
    if row.parameters is not None:
        found.append(_parameters(row, whole))
    if row.bytes is not None:
        found.append(size(row.bytes, whole.bytes if whole and whole.bytes else row.bytes))
    return found


def share_kept(row: Row, whole: Row | None) -> float | None:
    """Return the share of the adapter's parameters that a cut keeps; None if not known."""
    if whole is None or row.parameters is None or not whole.parameters:
        return None
    return row.parameters / whole.parameters


def share_of_layers(row: Row, full: int | None) -> float | None:
    """Return the share of the layers that a cut keeps; None if not known."""
    return None if full is None or row.kept_layers is None else row.kept_layers / (full + 1)


def parameters(row: Row) -> str:
    """Return how many parameters a cut keeps."""
    return NOT_AVAILABLE if row.parameters is None else f"{int(row.parameters):,}"


def fewer(task: TaskFound, name: CutName, full: int | None) -> str:
    """Return how much smaller a cut is, to follow a sentence; empty if it is not, or not known."""
    row = task.row(name)
    if row is None:
        return ""
    share = share_kept(row, task.row(full))
    if share is not None:
        return "" if share >= 1 else f", with {percent(1 - share)} fewer adapter parameters"
    layers = row.kept_layers
    if full is None or layers is None or layers > full:
        return ""
    return f", with {layers} of {full + 1} layers"


def _parameters(row: Row, whole: Row | None) -> str:
    share = share_kept(row, whole)
    if whole is None or share is None or share == 1:
        return f"{parameters(row)} parameters"
    return f"{parameters(row)} of {parameters(whole)} parameters ({percent(share)})"
