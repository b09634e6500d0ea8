"""Families of cuts and layer maps as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ..files import SWEEP
from .checked import boundaries
from .data import MAP_KINDS, Family, LayerEffect, Row
from .family_plots import UPPER
from .formatting import NOT_AVAILABLE, metric_name, named, percent, short, signed
from .layer_overlap import overlaps
from .read_families import controls, families, layer_maps
from .sentences import control_sentences

Effects = Sequence[LayerEffect]

_COLUMNS = 3  # maps side by side in 80 characters
_BAR, _WIDE_BAR = 11, 20  # characters; wide if there are fewer maps
_MOST_PAIRS = 6
_KINDS = {"each": "lost without the layer", "only": "added by it alone"}
_PATH = Path(SWEEP)  # for error messages


def families_table(task: str, entry: Mapping[str, Any]) -> Table | None:
    """Return the best cut of each family of a task; None if there is only the default family."""
    found = families(entry, _PATH)
    if not found:
        return None
    table = Table(title=f"{task}: the best cut of each family", caption_justify="left")
    table.add_column("family", overflow="fold")
    table.add_column("best cut", overflow="fold")
    table.add_column("kept", justify="right")
    table.add_column(metric_name(entry["metric"]), justify="right", overflow="fold")
    table.add_column("vs. whole adapter [95 %]", justify="right", no_wrap=True)
    rows = boundaries(entry, _PATH)
    if len(rows) > 2:
        found = (Family(UPPER, "order", rows), *found)
    for family in found:
        best = family.best(entry["higher_is_better"])
        if best is not None:
            chosen = best.name == entry["best"] and not entry.get("not_chosen")
            style = "bold" if chosen else None
            table.add_row(
                f"{family.name}{' *' if chosen else ''}",
                *_best(best, rows[-1].boundary),
                style=style,
            )
    table.caption = "\n".join(control_sentences(controls(entry, _PATH))) or None
    return table


def layer_map_tables(tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    """Yield the layer maps: both kinds of one task, or each kind of several tasks side by side."""
    found = {task: layer_maps(entry, _PATH) for task, entry in tasks.items()}
    found = {task: maps for task, maps in found.items() if maps}
    if len(found) == 1:
        ((task, maps),) = found.items()
        scale = _ends(maps.values())
        columns = [(_KINDS[kind], effects, scale) for kind, effects in maps.items()]
        title = f"{task}: what each layer's LoRA is worth"
        yield _layer_map(title, columns, "")
        return
    for kind in MAP_KINDS:
        columns = [
            (short(task, 22), maps[kind], _ends([maps[kind]]))
            for task, maps in found.items()
            if kind in maps
        ]
        notes = _overlaps({task: maps[kind] for task, maps in found.items() if kind in maps})
        for start in range(0, len(columns), _COLUMNS):
            last = start + _COLUMNS >= len(columns)
            title = f"What each layer's LoRA is worth: {_KINDS[kind]}"
            yield _layer_map(title, columns[start : start + _COLUMNS], notes if last else "")


def _best(row: Row, full: int | None) -> tuple[str, ...]:
    """Return the cells of a family's best cut."""
    kept = NOT_AVAILABLE if row.kept_layers is None else str(row.kept_layers)
    difference = NOT_AVAILABLE if row.delta_full is None else f"{row.delta_full:+.3f}"
    if row.ci_low is not None and row.ci_high is not None:
        difference += f" [{row.ci_low:+.3f}, {row.ci_high:+.3f}]"
    return (
        named(row.name, full).removeprefix("keep="),
        kept,
        NOT_AVAILABLE if row.value is None else f"{row.value:.3f}",
        difference,
    )


def _layer_map(
    title: str, columns: Sequence[tuple[str, Effects, tuple[float, float]]], notes: str
) -> Table:
    """Return a table with a row per layer and a bar per map, from name, effects and scale."""
    table = Table(title=title, caption_justify="left")
    table.add_column("layer", justify="right")
    bar = _BAR if len(columns) == _COLUMNS else _WIDE_BAR
    cells = []
    for name, effects, ends in columns:
        table.add_column(name, no_wrap=True)
        cells.append({each.layer: _cell(each, *ends, bar) for each in effects})
    for layer in sorted({layer for column in cells for layer in column}):
        table.add_row(str(layer), *(column.get(layer, "") for column in cells))
    caption = "█ significant, once corrected for all layers; ░ not. To the right: the layer helps."
    table.caption = f"{caption}\n{notes}" if notes else caption
    return table


def _ends(maps: Iterable[Effects]) -> tuple[float, float]:
    """Return the smallest and the largest effect, with zero between them."""
    effects = [each.effect for found in maps for each in found if each.effect is not None]
    return min([0.0, *effects]), max([0.0, *effects])


def _cell(each: LayerEffect, low: float, high: float, width: int) -> str:
    """Return a bar from the zero line, and the effect."""
    if each.effect is None:
        return NOT_AVAILABLE
    unit = (width - 1) / (high - low) if high > low else 0.0
    left = round(-low * unit)
    length = round(abs(each.effect) * unit)
    block = ("█" if each.significant else "░") * length
    negative, positive = (block, "") if each.effect < 0 else ("", block)
    bar = f"{negative:>{left}}│{positive:<{width - 1 - left}}"
    return f"{bar} {signed(each.effect)}{'*' if each.significant else ''}"


def _overlaps(maps: Mapping[str, Effects]) -> str:
    """Say how far tasks agree on the most important layers."""
    found = overlaps(maps)
    if not found:
        return ""
    parts = [
        f"{' and '.join(each.tasks)} share {percent(each.shared)} (by chance "
        f"{percent(each.chance)}{'' if each.rho is None else f'; ρ = {signed(each.rho, 2)}'})"
        for each in found[:_MOST_PAIRS]
    ]
    more = len(found) - len(parts)
    rest = f"; {more} more pairs are in the report" if more else ""
    return f"Of the most important quarter of the layers, {'; '.join(parts)}{rest}."
