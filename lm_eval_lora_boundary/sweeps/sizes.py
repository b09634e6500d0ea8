"""What a cut buys, in every row of ``sweep.json``: parameters, bytes, arithmetic and layers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from ..cuts.keep import Cut, as_cut, parse_keep
from ..cuts.size import Size, size_of, what_it_buys
from ..harness.sweep_lm import SweepLM
from ..stats.scores import Name
from ..stats.selection import Row


def bought(lm: SweepLM, choice: Name) -> list[str]:
    """Say what the recommended cut saves; nothing if that is the whole adapter or the base."""
    return what_it_buys(lm.cut, lm.adapter, as_cut(choice, lm.layers))


def with_sizes(lm: SweepLM, summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what ``sweep.json`` says about tasks, with the size of the cut in every row."""

    @cache
    def size(cut: Cut) -> Size:
        return size_of(lm.cut, lm.adapter, cut)

    def sized(row: Row) -> Row:
        name = row.get("boundary")
        cut = parse_keep(row["cut"], lm.layers) if name is None else Cut.up_to(name, lm.layers)
        return {**row, **size(cut)}

    def in_rows(entry: Mapping[str, Any]) -> dict[str, Any]:
        lists = {key: list(map(sized, entry[key])) for key in ("boundaries", "cuts") & entry.keys()}
        return {**entry, **lists}

    found = {}
    for task, summary in summaries.items():
        found[task] = in_rows(summary)
        if summary["test"]:
            found[task]["test"] = in_rows(summary["test"])
        if "families" in summary:
            families = summary["families"].items()
            found[task]["families"] = {name: in_rows(family) for name, family in families}
    return found
