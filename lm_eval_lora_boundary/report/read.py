"""Read and check ``sweep.json`` and ``trace.json``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files import SWEEP, TRACE, read_object
from .checked import (
    AGAIN,
    boundaries,
    by_layer,
    cut_name,
    entries,
    number,
    optional,
    row_name,
    rows,
    take,
    texts,
    whole,
)
from .conclusions import Answer, Clusters, Optimism
from .data import Confirmation, CutName, SweepFound, TaskFound
from .formatting import called
from .read_families import controls, families, layer_maps
from .speed import read_speed
from .trace_data import Layer, Trace

logger = logging.getLogger("lm_eval.lora_boundary")


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
    content = read_object(path, AGAIN)
    trace = read_object(folder / TRACE, AGAIN) if (folder / TRACE).is_file() else {}
    if trace and _models(trace) != _models(content):
        logger.warning("%s is of another adapter or base model, so it is left out", folder / TRACE)
        trace = {}
    traces = take(trace, "tasks", dict, folder / TRACE) if trace else {}
    tasks = take(content, "tasks", dict, path)
    if not tasks:
        raise OutputError(f"{path} holds no task; {AGAIN}")
    return SweepFound(
        signature=take(content, "signature", str, path),
        settings=optional(content, "settings", path),
        engine=str(content.get("engine", "")),
        tasks=tuple(
            _task(name, found, _trace(traces.get(name), folder / TRACE), path)
            for name, found in tasks.items()
        ),
        groups={
            name: boundaries(found, path)
            for name, found in optional(content, "groups", path).items()
        },
        race=_race(content, path),
        notes=_notes(content, path, of_prompt=False),
        prompt_notes=_notes(content, path, of_prompt=True),
        folder=str(folder),
        speed=read_speed(folder, content),
        trace_settings=optional(trace, "settings", folder / TRACE),
    )


def _notes(content: Mapping[str, Any], path: Path, *, of_prompt: bool) -> tuple[str, ...]:
    """Return the notes on how prompts begin, or all others."""
    notes = [(take(each, "text", str, path), each) for each in entries(content, "notes", path)]
    return tuple(text for text, each in notes if (each.get("kind") == "prompt") == of_prompt)


def _models(content: Mapping[str, Any]) -> list[str]:
    """Return the parts of a signature that name the base model and the adapter."""
    parts = str(content.get("signature")).split(" | ")
    return [part for part in parts if part.startswith(("base ", "adapter "))]


def _race(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return what the race dropped; empty without a race."""
    race = optional(content, "race", path)
    for dropped in take(race, "dropped", list, path) if race else ():
        row_name(dropped, path)
    return race


def _task(name: str, found: Any, trace: Trace | None, path: Path) -> TaskFound:
    """Return the result on one task."""
    rows = boundaries(found, path)
    not_chosen = found.get("not_chosen")
    if not_chosen is not None:
        not_chosen = take(found, "not_chosen", str, path)
    best = cut_name(found, "best", path)
    choice = best  # the oldest sweeps recorded neither `choice` nor `not_chosen`
    if "choice" in found or not_chosen is not None:
        choice = cut_name(found, "choice", path)
    optimism = found.get("optimism")

    def text(key: str) -> str | None:
        return None if found.get(key) is None else take(found, key, str, path)

    task = TaskFound(
        name=name,
        metric=take(found, "metric", str, path),
        higher_is_better=take(found, "higher_is_better", bool, path),
        split=found.get("split"),
        documents=whole(found.get("documents")),
        rows=rows,
        best=best,
        choice=choice,
        smallest_noninferior=None
        if found.get("smallest_noninferior") is None
        else cut_name(found, "smallest_noninferior", path),
        collapse=whole(found.get("collapse")),
        same_documents=found.get("selection", "same documents") == "same documents",
        optimism=Optimism(*(number(optimism.get(each.name)) for each in fields(Optimism)))
        if isinstance(optimism, Mapping)
        else None,
        test=_confirmation(found.get("test"), path),
        trace=trace,
        not_chosen=not_chosen,
        margin=text("margin"),
        choice_basis=text("choice_basis"),
        choice_reason=text("choice_reason"),
        answers=_answers(found, path),
        noninferior=_cuts(found, "noninferior", path),
        kept_here=_cuts(optional(found, "keeping", path), "cuts", path),
        clusters=_clusters(found.get("test") or found, path),
        families=families(found, path),
        layer_maps=layer_maps(found, path),
        controls=controls(found, path),
        buys=texts(found, "buys", path),
    )
    if task.row(best) is None:
        raise OutputError(f"{path}: {called(best)} is the best of {name} but has no row")
    return task


def _answers(found: Mapping[str, Any], path: Path) -> tuple[Answer, ...]:
    """Return the answers to the questions."""
    return tuple(
        Answer(
            key,
            take(each, "question", str, path),
            take(each, "sentence", str, path),
            take(each, "shown", bool, path),
            whole(each.get("documents_needed")),
            number(each.get("scale")),
        )
        for key, each in optional(found, "answers", path).items()
    )


def _cuts(found: Mapping[str, Any], key: str, path: Path) -> tuple[CutName, ...]:
    """Return a list of cuts that may be missing."""
    names = entries(found, key, path)
    return tuple(cut_name({key: each}, key, path) for each in names)


def _clusters(found: Mapping[str, Any], path: Path) -> Clusters | None:
    """Return what was drawn instead of documents, if anything was."""
    clusters = optional(found, "clusters", path)
    if not clusters:
        return None
    return Clusters(take(clusters, "field", str, path), take(clusters, "count", int, path))


def _confirmation(found: Any, path: Path) -> Confirmation | None:
    """Return the result on the test split, if there is one."""
    if found is None:
        return None
    return Confirmation(
        split=take(found, "split", str, path),
        documents=whole(found.get("documents")),
        # cuts that are no boundaries have a list of their own
        rows=rows(take(found, "boundaries", list, path) + entries(found, "cuts", path), path),
        signature=take(found, "signature", str, path) if "signature" in found else None,
    )


def _trace(found: Any, path: Path) -> Trace | None:
    """Return a task's trace, if there is one."""
    if found is None:
        return None
    layers = take(found, "layers", list, path)
    models = optional(found, "models", path)
    return Trace(
        layers=by_layer(Layer, layers, path),
        models={name: by_layer(Layer, take(models, name, list, path), path) for name in models},
        candidate=whole(found.get("candidate")),
        candidate_low=whole(found.get("candidate_low")),
        candidate_high=whole(found.get("candidate_high")),
        verdict=take(found, "verdict", str, path),
        documents=whole(found.get("documents")),
    )
