"""Tables of layer maps: the effects of layers, and how far tasks agree on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .cells import Cell
from .data import MAP_KINDS, LayerEffect, TaskFound
from .formatting import NOT_AVAILABLE, interval, percent, probability, signed
from .layer_overlap import Overlap, overlaps
from .table import Heading, Line, Table

MAP_NOTE = (
    "The intervals hold for all layers at once. A hollow dot is a layer that is not shown to "
    "matter, which does not show that it does not matter."
)
_HEADINGS = {
    "each": Heading("left out", "what the whole adapter loses without the layer"),
    "only": Heading("alone", "what the layer alone adds to the base model"),
}
_CORRECTED = "two-sided, corrected for all layers, as are the 95 % intervals (max-T)"


def layer_map_table(task: TaskFound) -> Table | None:
    """Return the effects of all layers; None if the task has no layer map."""
    maps = {kind: {each.layer: each for each in found} for kind, found in task.layer_maps.items()}
    layers = sorted({layer for found in maps.values() for layer in found})
    if not layers:
        return None
    headings = [Heading("layer")]
    for kind in maps:
        headings += [_HEADINGS[kind], Heading("p", "" if len(headings) > 1 else _CORRECTED)]
    return Table(
        tuple(headings),
        tuple(
            Line(
                "",
                False,
                (
                    Cell(str(layer), sort=layer),
                    *(cell for found in maps.values() for cell in _effect(found.get(layer))),
                ),
            )
            for layer in layers
        ),
    )


def compared(tasks: Sequence[TaskFound]) -> Iterator[tuple[str, Overlap]]:
    """Yield how far the layer maps of every two tasks agree, after the kind of the maps."""
    for kind in MAP_KINDS:
        maps = {task.name: task.layer_maps[kind] for task in tasks if kind in task.layer_maps}
        for overlap in overlaps(maps):
            yield kind, overlap


def overlap_table(tasks: Sequence[TaskFound]) -> Table | None:
    """Return how far the layer maps of every two tasks agree; None if there are no two."""
    lines = tuple(
        Line(
            "",
            False,
            (
                Cell(" · ".join(each.tasks)),
                Cell(_HEADINGS[kind].text),
                Cell(percent(each.shared), sort=each.shared),
                Cell(percent(each.chance), sort=each.chance),
                Cell(NOT_AVAILABLE if each.rho is None else signed(each.rho, 2), sort=each.rho),
            ),
        )
        for kind, each in compared(tasks)
    )
    if not lines:
        return None
    return Table(
        (
            Heading("tasks"),
            Heading(
                "map", "the layer is left out of the whole adapter, or alone on the base model"
            ),
            Heading(
                "shared",
                "how many of the most important layers the two tasks have in common; these are the "
                "quarter of the layers with the largest effects, rounded down, at least one",
            ),
            Heading("by chance", "what two maps in random order would share on average"),
            Heading("ρ", "Spearman's rank correlation of all effects"),
        ),
        lines,
    )


def _effect(found: LayerEffect | None) -> tuple[Cell, Cell]:
    each = found or LayerEffect(-1)
    return (
        Cell(signed(each.effect), interval(each.ci_low, each.ci_high), each.effect),
        Cell(probability(each.p_value), sort=each.p_value),
    )
