"""Read and check ``sweep.json`` and ``trace.json``."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ..errors import OutputError
from ..files import SWEEP, TRACE, read_object
from .data import Confirmation, Layer, Optimism, Row, SweepFound, TaskFound, Trace

logger = logging.getLogger("lm_eval.lora_boundary")

_AGAIN = "run the command that wrote it again"

Kind = TypeVar("Kind")


def read_sweep(folder: Path) -> SweepFound:
    """Read a finished sweep, and the trace beside it if there is one.

    Raises:
        OutputError: ``sweep.json`` is missing, or one of the files is not JSON or was written by
            something else.
    """
    path = folder / SWEEP
    if not path.is_file():
        raise OutputError(
            f"{folder} holds no {SWEEP}; expected the --output folder of a finished "
            "`lora-boundary sweep`"
        )
    content = read_object(path, _AGAIN)
    trace = read_object(folder / TRACE, _AGAIN) if (folder / TRACE).is_file() else {}
    if trace and _models(trace) != _models(content):
        logger.warning("%s is of another adapter or base model, so it is left out", folder / TRACE)
        trace = {}
    traces = _take(trace, "tasks", dict, folder / TRACE) if trace else {}
    tasks = _take(content, "tasks", dict, path)
    if not tasks:
        raise OutputError(f"{path} holds no task; {_AGAIN}")
    return SweepFound(
        signature=_take(content, "signature", str, path),
        settings=_optional(content, "settings", path),
        engine=str(content.get("engine", "")),
        tasks=tuple(
            _task(name, found, _trace(traces.get(name), folder / TRACE), path)
            for name, found in tasks.items()
        ),
        groups={
            name: _rows(_take(found, "boundaries", list, path), path)
            for name, found in _optional(content, "groups", path).items()
        },
        race=_race(content, path),
    )


def _models(content: Mapping[str, Any]) -> list[str]:
    """Return the parts of a signature that name the base model and the adapter."""
    parts = str(content.get("signature")).split(" | ")
    return [part for part in parts if part.startswith(("base ", "adapter "))]


def _take(content: Any, key: str, kind: type[Kind], path: Path) -> Kind:
    """Return an entry, which must be there and of the given kind."""
    value = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise OutputError(
            f"{path}: expected {key!r} to be of type {kind.__name__}, got {value!r:.60}; {_AGAIN}"
        )
    return value


def _optional(content: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    """Return an object that may be missing."""
    return {} if content.get(key) is None else _take(content, key, dict, path)


def _race(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return what the race dropped; empty without a race."""
    race = _optional(content, "race", path)
    for dropped in _take(race, "dropped", list, path) if race else ():
        _take(dropped, "boundary", int, path)
    return race


def _number(value: Any) -> float | None:
    """Return a finite number; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _whole(value: Any) -> int | None:
    """Return an integer; None for everything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _rows(found: Sequence[Any], path: Path) -> tuple[Row, ...]:
    """Return the statistics of boundaries, ascending."""
    statistics = [each.name for each in fields(Row) if each.name not in ("boundary", "metrics")]
    rows = []
    for each in found:
        metrics = {
            key: number
            for key, value in (_take(each, "metrics", dict, path)).items()
            if (number := _number(value)) is not None
        }
        numbers = {name: _number(each.get(name)) for name in statistics}
        rows.append(Row(_take(each, "boundary", int, path), **numbers, metrics=metrics))
    if not rows:
        raise OutputError(f"{path} holds no boundaries of a task; {_AGAIN}")
    return tuple(sorted(rows, key=lambda row: row.boundary))


def _task(name: str, found: Any, trace: Trace | None, path: Path) -> TaskFound:
    """Return the result on one task."""
    rows = _rows(_take(found, "boundaries", list, path), path)
    not_chosen = found.get("not_chosen")
    if not_chosen is not None:
        not_chosen = _take(found, "not_chosen", str, path)
    best = _take(found, "best", int, path)
    choice = best  # the oldest sweeps recorded neither `choice` nor `not_chosen`
    if "choice" in found or not_chosen is not None:
        choice = _take(found, "choice", int, path)
    if best not in [row.boundary for row in rows]:
        raise OutputError(f"{path}: boundary {best} is the best of {name} but has no row")
    optimism = found.get("optimism")
    return TaskFound(
        name=name,
        metric=_take(found, "metric", str, path),
        higher_is_better=_take(found, "higher_is_better", bool, path),
        split=found.get("split"),
        documents=_whole(found.get("documents")),
        rows=rows,
        best=best,
        choice=choice,
        smallest_equivalent=_whole(found.get("smallest_equivalent")),
        collapse=_whole(found.get("collapse")),
        same_documents=found.get("selection", "same documents") == "same documents",
        optimism=Optimism(*(_number(optimism.get(each.name)) for each in fields(Optimism)))
        if isinstance(optimism, Mapping)
        else None,
        test=_confirmation(found.get("test"), path),
        trace=trace,
        not_chosen=not_chosen,
    )


def _confirmation(found: Any, path: Path) -> Confirmation | None:
    """Return the result on the test split, if there is one."""
    if found is None:
        return None
    return Confirmation(
        split=_take(found, "split", str, path),
        documents=_whole(found.get("documents")),
        rows=_rows(_take(found, "boundaries", list, path), path),
    )


def _trace(found: Any, path: Path) -> Trace | None:
    """Return a task's trace, if there is one."""
    if found is None:
        return None
    models = found.get("models") if isinstance(found, Mapping) else None
    return Trace(
        layers=_layers(_take(found, "layers", list, path), path),
        models={name: _layers(rows, path) for name, rows in (models or {}).items()},
        candidate=_whole(found.get("candidate")),
        candidate_low=_whole(found.get("candidate_low")),
        candidate_high=_whole(found.get("candidate_high")),
        verdict=_take(found, "verdict", str, path),
        documents=_whole(found.get("documents")),
    )


def _layers(found: Sequence[Any], path: Path) -> tuple[Layer, ...]:
    """Return the probabilities read out at the layers, ascending."""
    rows = [
        Layer(
            _take(each, "layer", int, path),
            *(_number(each.get(name)) for name in ("mean", "median", "q25", "q75")),
        )
        for each in found
    ]
    return tuple(sorted(rows, key=lambda row: row.layer))
