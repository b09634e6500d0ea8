"""Read what ``sweep.json`` says about families of cuts, and its layer maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checked import by_layer, entries, optional, row, take
from .conclusions import Control
from .data import MAP_KINDS, Family, LayerEffect


def families(found: Mapping[str, Any], path: Path) -> tuple[Family, ...]:
    """Return the families of a task that have cuts, in the order of the file."""
    read = (
        Family(
            name,
            take(family, "kind", str, path),
            tuple(row(each, path) for each in take(family, "cuts", list, path)),
        )
        for name, family in optional(found, "families", path).items()
    )
    return tuple(family for family in read if family.cuts)


def layer_maps(found: Mapping[str, Any], path: Path) -> dict[str, tuple[LayerEffect, ...]]:
    """Return the layer maps of a task that have layers, ``each`` before ``only``."""
    maps = optional(found, "layer_map", path)
    read = {
        kind: by_layer(LayerEffect, take(maps[kind], "layers", list, path), path)
        for kind in MAP_KINDS
        if maps.get(kind) is not None
    }
    return {kind: layers for kind, layers in read.items() if layers}


def controls(found: Mapping[str, Any], path: Path) -> tuple[Control, ...]:
    """Return how the best cuts of other families compare with the best boundary."""
    return tuple(
        Control(
            take(each, "family", str, path),
            take(each, "sentence", str, path),
            take(each, "as_good", bool, path),
        )
        for each in entries(found, "controls", path)
    )
