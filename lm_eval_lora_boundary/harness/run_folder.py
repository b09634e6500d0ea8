"""A folder belongs to its run: other settings do not replace its results without a word.

``sweep.json``, ``trace.json`` and ``training.json`` hold the settings that they were made with. So
does ``unfinished.json``, as long as a sweep has not ended. More cuts or tasks may be added; what
does not change a result may be changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..cuts.boundaries import parse_boundaries
from ..errors import BoundaryError, OutputError
from ..files import SWEEP, TRACE, UNFINISHED, read_object

FORCE = "give another --output, or --force to replace it"
# They change how fast a run is, or what is done with its results, and no result.
_HARMLESS = {
    *("batch_size", "device", "save", "confirm_run_unsafe_code"),
    "document",  # of a trace: the one that is drawn
}
# They decide what is done with answers, and no answer: before there is a result, they may change.
_OF_RESULTS = {
    *("metric", "margin", "cluster", "control", "boundaries", "family", "candidates", "race"),
    *("error_rate", "confirm"),
}
_MANY = 10**6  # more layers than any model has: here, only the text of boundaries counts


def differences(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return in words which of the settings differ, whether both have them or not."""
    return [
        f"{name} is {_shown(recorded.get(name))} there and {_shown(given.get(name))} here"
        for name in sorted({*recorded, *given})
        if recorded.get(name) != given.get(name)
    ]


def first_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of settings before their ``k=v`` options and their base are read."""
    later = {"model_args", "gen_kwargs"} | ({"pretrained"} - {n for n in settings if settings[n]})
    return {name: value for name, value in settings.items() if name not in later}


def refuse_other_sweep(output: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder that holds results with other settings, for a sweep.

    Raises:
        OutputError: It does, or its files do not say with which settings they were made.
    """
    path = _sweep_file(output)
    if path is not None:
        recorded = _settings(path)
        if path.name == SWEEP:
            _refuse(output, "a sweep", recorded, settings, FORCE)
        else:
            answers = {name: recorded[name] for name in recorded.keys() - _OF_RESULTS}
            remedy = "give another --output, or --force to give it up; its answers are kept"
            _refuse(output, "an unfinished sweep", answers, settings, remedy)
    refuse_other_trace_for_sweep(output, settings)


def refuse_other_trace_for_sweep(output: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder that holds a trace whose model, tasks or prompts are not those of a sweep.

    Raises:
        OutputError: It does, or ``trace.json`` does not say with which settings it was made.
    """
    if (output / TRACE).is_file():
        trace = _settings(output / TRACE)
        shared = _shared(settings)
        recorded = {name: trace.get(name) for name in shared & trace.keys() & settings.keys()}
        given = {name: settings[name] for name in recorded}
        _refuse(output, "a trace", recorded, given, FORCE)


def refuse_other_trace(output: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder that holds results with other settings, for a trace.

    Raises:
        OutputError: It does, or its files do not say with which settings they were made.
    """
    if (output / TRACE).is_file():
        _refuse(output, "a trace", _settings(output / TRACE), settings, FORCE)
    path = _sweep_file(output)
    if path is not None:
        sweep = _settings(path)
        remedy = "give another --output, or --force to write the trace beside it"
        shared = _shared(sweep) & settings.keys() & sweep.keys()
        given = {name: settings[name] for name in shared}
        recorded = {name: sweep[name] for name in shared}
        if set(given["tasks"]) <= set(recorded["tasks"]):
            given["tasks"] = recorded["tasks"]
        _refuse(output, "a sweep", recorded, given, remedy)


def _sweep_file(output: Path) -> Path | None:
    """Return the file with the settings of a folder's sweep; None if there is no sweep."""
    return next((output / n for n in (UNFINISHED, SWEEP) if (output / n).is_file()), None)


def _settings(path: Path) -> dict[str, Any]:
    content = read_object(path, FORCE)
    settings = content.get("settings")
    if not isinstance(settings, dict) or not isinstance(settings.get("tasks"), list):
        raise OutputError(
            f"{path} does not say with which settings it was made (an earlier version wrote it, or "
            f"another program); {FORCE}"
        )
    return settings


def _shared(sweep: Mapping[str, Any]) -> set[str]:
    """Return the settings that a trace shares with a sweep: model, tasks and prompts."""
    names = {
        *("pretrained", "peft", "tasks", "split", "limit", "dtype", "model_args", "include_path"),
        *("num_fewshot", "apply_chat_template", "fewshot_as_multiturn", "system_instruction"),
    }
    # those of vLLM mean nothing to a trace, which runs in transformers
    return names - {"dtype", "model_args"} if sweep.get("engine") == "vllm" else names


def _refuse(
    output: Path,
    what: str,
    recorded: Mapping[str, Any],
    given: Mapping[str, Any],
    remedy: str,
) -> None:
    # a setting that an earlier version did not have says nothing
    names = [
        name
        for name in recorded.keys() & given.keys() - _HARMLESS
        if not _goes_on(name, recorded[name], given[name])
    ]
    there, here = ({name: each[name] for name in names} for each in (recorded, given))
    if found := differences(there, here):
        raise OutputError(
            f"{output} holds {what} with other settings: {'; '.join(found)}; {remedy}"
        )


def _goes_on(name: str, recorded: Any, given: Any) -> bool:
    """Return whether results stay as they are if a setting changes, or more are added to them."""
    if recorded == given:
        return True
    rule = _RULES.get(name)
    try:
        return rule is not None and rule(recorded, given)
    except (TypeError, AttributeError):  # a file may hold anything
        return False


def _more(recorded: Iterable[Any], given: Iterable[Any]) -> bool:
    return set(recorded) <= set(given)


def _more_boundaries(recorded: str, given: str) -> bool:
    texts = [text.strip() for text in (recorded, given)]
    if texts[1] == "all":
        return True
    with suppress(BoundaryError):
        before, now = (set(parse_boundaries(t, _MANY)) if t else set() for t in texts)
        return texts[0] != "all" and before <= now
    return False


def _same_place(recorded: str, given: str) -> bool:
    first, second = (Path(each).expanduser() for each in (recorded, given))
    return second.exists() and first.resolve() == second.resolve()


_RULES: dict[str, Callable[[Any, Any], bool]] = {
    "tasks": _more,
    "family": _more,
    "control": _more,
    "keep": _more,
    "boundaries": _more_boundaries,
    "confirm": lambda recorded, given: given is True and recorded is False,
    "gradient": lambda recorded, given: given is True and recorded is False,
    "measure": lambda recorded, given: given is True and recorded is False,
    # fork and toggle give the same answers, in which vLLM's arithmetic differs
    "engine": lambda recorded, given: "vllm" not in (recorded, given),
    "pretrained": _same_place,
    "peft": _same_place,
    "include_path": _same_place,
}


def _shown(value: Any) -> str:
    """Return a setting as a message shows it."""
    if value is None:
        return "not given"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ",".join(map(str, value)) or "empty"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else repr(value)
