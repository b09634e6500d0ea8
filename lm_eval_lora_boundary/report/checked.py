"""Take entries out of files that may be damaged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ..errors import OutputError
from .data import CutName, LayerEffect, Row
from .trace_data import Layer

AGAIN = "run the command that wrote it again"

Kind = TypeVar("Kind")
LayerStatistics = TypeVar("LayerStatistics", Layer, LayerEffect)

_NOT_STATISTICS = ("boundary", "cut", "layer", "metrics")


def take(content: Any, key: str, kind: type[Kind], path: Path) -> Kind:
    """Return an entry, which must be there and of the given kind."""
    value = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise OutputError(
            f"{path}: expected {key!r} to be of type {kind.__name__}, got {value!r:.60}; {AGAIN}"
        )
    return value


def optional(content: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    """Return an object that may be missing."""
    return {} if content.get(key) is None else take(content, key, dict, path)


def entries(content: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    """Return a list that may be missing."""
    return [] if content.get(key) is None else take(content, key, list, path)


def texts(content: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    """Return a list of texts that may be missing."""
    return tuple(take({key: each}, key, str, path) for each in entries(content, key, path))


def cut_name(content: Any, key: str, path: Path) -> CutName:
    """Return what a sweep calls a cut: a boundary, or the notation of another cut."""
    value = content.get(key) if isinstance(content, Mapping) else None
    return value if isinstance(value, str) and value else take(content, key, int, path)


def row_name(content: Any, path: Path) -> CutName:
    """Return what a sweep calls the cut of a row: its boundary if it has one, or its notation."""
    named = isinstance(content, Mapping) and isinstance(content.get("cut"), str)
    if named and content.get("boundary") is None:
        return take(content, "cut", str, path)
    return take(content, "boundary", int, path)


def number(value: Any) -> float | None:
    """Return a finite number; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def whole(value: Any) -> int | None:
    """Return an integer; None for everything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def boundaries(content: Any, path: Path) -> tuple[Row, ...]:
    """Return the statistics under the key ``boundaries``, ascending; nothing else may be there."""
    found = take(content, "boundaries", list, path)
    for each in found:
        take(each, "boundary", int, path)
    return rows(found, path)


def rows(found: Sequence[Any], path: Path) -> tuple[Row, ...]:
    """Return the statistics of boundaries, ascending, then those of other cuts."""
    if not found:
        raise OutputError(f"{path} holds no boundaries of a task; {AGAIN}")
    taken = [row(each, path) for each in found]
    # cuts without a boundary come last, in the order of the file
    return tuple(sorted(taken, key=lambda each: (each.boundary is None, each.boundary or 0)))


def by_layer(
    kind: type[LayerStatistics], found: Sequence[Any], path: Path
) -> tuple[LayerStatistics, ...]:
    """Return statistics of layers, ascending."""
    names = [each.name for each in fields(kind) if each.name != "layer"]
    read = [
        kind(take(each, "layer", int, path), *(number(each.get(name)) for name in names))
        for each in found
    ]
    return tuple(sorted(read, key=lambda each: each.layer))


def row(found: Any, path: Path) -> Row:
    """Return the statistics of one cut, which has a boundary or a notation."""
    statistics = [each.name for each in fields(Row) if each.name not in _NOT_STATISTICS]
    metrics = {
        key: value
        for key, each in take(found, "metrics", dict, path).items()
        if (value := number(each)) is not None
    }
    name = row_name(found, path)
    return Row(
        name if isinstance(name, int) else None,
        **{name: number(found.get(name)) for name in statistics},
        cut=found.get("cut") or (name if isinstance(name, str) else None),
        layer=whole(found.get("layer")),
        metrics=metrics,
    )
