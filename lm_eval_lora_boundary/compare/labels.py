"""Short names for models that stand beside each other, all different."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from .runs import Run

_NAMES = ("peft", "delta", "pretrained", "model", "path", "engine")


def labels(runs: Sequence[Run]) -> list[str]:
    """Return a label for every run: adapter or model, boundary, then only what tells them apart."""
    names = dict(zip(map(_name, runs), short(list(map(_name, runs))), strict=True))
    sweeps = _sweeps(runs)
    found = []
    for run in runs:
        cut = "" if run.boundary is None else f" boundary={run.boundary}"
        role = f" ({run.role})" if run.role else ""
        found.append(f"{names[_name(run)]}{sweeps.get(run.sweep, '')}{cut}{role}")
    found = _told_apart(found, runs)
    return _numbered(found)


def _sweeps(runs: Sequence[Run]) -> dict[Path | None, str]:
    """Return what to call sweeps, where there are several."""
    folders = list(dict.fromkeys(run.sweep for run in runs if run.sweep is not None))
    if len(folders) < 2:
        return {}
    return {
        folder: f" in {name}"
        for folder, name in zip(folders, differing(list(map(str, folders))), strict=True)
    }


def differing(paths: Sequence[str]) -> list[str]:
    """Return the parts in which paths differ; their shortest ends if one has no such part."""
    parts = [PurePath(path).parts for path in paths]
    shortest = min(map(len, parts))
    first = next((i for i in range(shortest) if len({p[i] for p in parts}) > 1), shortest)
    last = next((i for i in range(shortest) if len({p[-1 - i] for p in parts}) > 1), shortest)
    middles = [p[first : len(p) - last] for p in parts]
    if all(middles) and len(set(middles)) == len(set(parts)):
        return [str(PurePath(*middle)) for middle in middles]
    return short(paths)


def short(names: Sequence[str]) -> list[str]:
    """Return the shortest ends of paths or hub ids that keep different ones different."""
    parts = {name: PurePath(name).parts or (name,) for name in names}
    found = {}
    for name, own in parts.items():
        others = [other for key, other in parts.items() if key != name]
        length = 1
        while length < len(own) and any(other[-length:] == own[-length:] for other in others):
            length += 1
        found[name] = str(PurePath(*own[-length:]))
    return [found[name] for name in names]


def _name(run: Run) -> str:
    """Return what the model is called by: its adapter, or itself."""
    return next((str(run.args[key]) for key in _NAMES if run.args.get(key)), run.model)


def _facts(run: Run) -> dict[str, Any]:
    """Return what may tell runs apart, most telling first."""
    shown = {key: value for key, value in run.args.items() if key not in ("peft", "boundary")}
    return {"model": run.model, **shown, **run.settings}


def _told_apart(found: list[str], runs: Sequence[Run]) -> list[str]:
    """Add to labels that several runs share as few facts as tell these runs apart."""
    result = list(found)
    for label in (label for label, count in Counter(found).items() if count > 1):
        same = [i for i, other in enumerate(found) if other == label]
        facts = [_facts(runs[i]) for i in same]
        for key in dict.fromkeys(key for each in facts for key in each):
            values = [each.get(key) for each in facts]
            if len({result[i] for i in same}) < len(same) and len(set(map(str, values))) > 1:
                for i, value in zip(same, values, strict=True):
                    result[i] += f", {key}={_brief(value)}" if value else ""
        if len({result[i] for i in same}) < len(same):
            folders = differing([str(runs[i].files[0].parent) for i in same])
            for i, folder in zip(same, folders, strict=True):
                result[i] += f", {folder}" if len(set(folders)) > 1 else ""
    return result


def _brief(value: object) -> str:
    """Return the last part of a path, the beginning of anything else."""
    return (PurePath(str(value)).name or str(value))[:24]


def _numbered(found: Sequence[str]) -> list[str]:
    """Number what is still the same."""
    result: list[str] = []
    for label in found:
        number = 1
        candidate = label
        while candidate in result:
            number += 1
            candidate = f"{label} #{number}"
        result.append(candidate)
    return result
