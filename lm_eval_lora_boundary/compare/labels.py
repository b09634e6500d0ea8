"""Short labels for models that are shown side by side; no two are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from .runs import Run

_NAME_ARGS = ("peft", "delta", "pretrained", "model", "path", "engine")


def labels(runs: Sequence[Run]) -> list[str]:
    """Return a label for every run: adapter or model, cut, then only what distinguishes it."""
    names = shortest_suffixes([_name(run) for run in runs])
    sweeps = _sweep_labels(runs)
    result = []
    for run, name in zip(runs, names, strict=True):
        keep = f" keep={run.args['keep']}" if run.args.get("keep") is not None else ""
        cut = keep if run.boundary is None else f" boundary={run.boundary}"
        role = f" ({run.role})" if run.role else ""
        result.append(f"{name}{sweeps.get(run.sweep, '')}{cut}{role}")
    return _numbered(_distinguished(result, runs))


def _sweep_labels(runs: Sequence[Run]) -> dict[Path | None, str]:
    """Return a label for each sweep if there are several."""
    folders = list(dict.fromkeys(run.sweep for run in runs if run.sweep is not None))
    if len(folders) < 2:
        return {}
    names = differing_parts(list(map(str, folders)))
    return {folder: f" in {name}" for folder, name in zip(folders, names, strict=True)}


def differing_parts(paths: Sequence[str]) -> list[str]:
    """Return the part of each path that differs; if one has none, the shortest suffixes."""
    parts = [PurePath(path).parts for path in paths]
    shortest = min(map(len, parts))
    first = next((i for i in range(shortest) if len({p[i] for p in parts}) > 1), shortest)
    last = next((i for i in range(shortest) if len({p[-1 - i] for p in parts}) > 1), shortest)
    middles = [p[first : len(p) - last] for p in parts]
    if all(middles) and len(set(middles)) == len(set(parts)):
        return [str(PurePath(*middle)) for middle in middles]
    return shortest_suffixes(paths)


def shortest_suffixes(names: Sequence[str]) -> list[str]:
    """Return the shortest suffixes of paths or hub ids that keep different names different."""
    parts = {name: PurePath(name).parts or (name,) for name in names}
    suffixes = {}
    for name, own in parts.items():
        others = [other for key, other in parts.items() if key != name]
        length = 1
        while length < len(own) and any(other[-length:] == own[-length:] for other in others):
            length += 1
        suffixes[name] = str(PurePath(*own[-length:]))
    return [suffixes[name] for name in names]


def _name(run: Run) -> str:
    """Return the adapter of a run if it has one, else its model."""
    return next((str(run.args[key]) for key in _NAME_ARGS if run.args.get(key)), run.model)


def _facts(run: Run) -> dict[str, Any]:
    """Return what may distinguish a run from others, most telling first."""
    args = {
        key: value for key, value in run.args.items() if key not in ("peft", "boundary", "keep")
    }
    return {"model": run.model, **args, **run.settings}


def _distinguished(shared: list[str], runs: Sequence[Run]) -> list[str]:
    """Add to labels that several runs share the few facts that distinguish these runs."""
    result = list(shared)
    for label in (label for label, count in Counter(shared).items() if count > 1):
        same = [i for i, other in enumerate(shared) if other == label]
        facts = [_facts(runs[i]) for i in same]
        for key in dict.fromkeys(key for run_facts in facts for key in run_facts):
            values = [run_facts.get(key) for run_facts in facts]
            if len({result[i] for i in same}) < len(same) and len(set(map(str, values))) > 1:
                for i, value in zip(same, values, strict=True):
                    result[i] += f", {key}={_brief(value)}" if value else ""
        if len({result[i] for i in same}) < len(same):
            folders = differing_parts([str(runs[i].files[0].parent) for i in same])
            if len(set(folders)) > 1:
                for i, folder in zip(same, folders, strict=True):
                    result[i] += f", {folder}"
    return result


def _brief(value: object) -> str:
    """Return the last part of a path, or the beginning of anything else."""
    return (PurePath(str(value)).name or str(value))[:24]


def _numbered(labels: Sequence[str]) -> list[str]:
    """Number the labels that are still the same."""
    result: list[str] = []
    for label in labels:
        number = 1
        candidate = label
        while candidate in result:
            number += 1
            candidate = f"{label} #{number}"
        result.append(candidate)
    return result
