"""The command that runs a sweep, from the settings that it wrote."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from ..errors import inert

# the settings that have an option, with their defaults, in the order of the command line
DEFAULTS: Mapping[str, Any] = {
    "pretrained": None,
    "peft": None,
    "tasks": [],
    "data": None,
    "include_path": None,
    "split": None,
    "limit": None,
    "apply_chat_template": False,
    "no_template": False,
    "num_fewshot": None,
    "system_instruction": None,
    "boundaries": "all",
    "family": ["upper"],
    "candidates": "all",
    "metric": None,
    "margin": "10%",
    "cluster": None,
    "control": [],
    "dtype": "auto",
    "device": None,
    "model_args": {},
    "gen_kwargs": {},
    "batch_size": None,
    "engine": "auto",
    "race": False,
    "error_rate": 0.2,
    "confirm": True,
    "confirm_run_unsafe_code": False,
    "save": False,
    "no_texts": False,
}
# the settings that only Python can give
WITHOUT_OPTION = ("fewshot_as_multiturn",)
# a program or an option with its value
Command = tuple[str, ...]


def sweep_command(
    settings: Mapping[str, Any], output: str, changed: Mapping[str, Any] | None = None
) -> Command | None:
    """Return the command that runs a sweep; None if there is none.

    Args:
        settings: The settings in ``sweep.json``.
        output: The folder to write.
        changed: Settings to change.
    """
    settings = {**settings, **(changed or {})}
    required = settings.get("peft") and (settings.get("tasks") or settings.get("data"))
    strange = [name for name in settings if name not in DEFAULTS and settings[name]]
    if not required or strange:
        return None
    parts = []
    for name, default in DEFAULTS.items():
        value = settings.get(name, default)
        if value == default:
            continue
        option = _option(name, value)
        if option is None:
            return None
        parts.append(option)
    return safe("lora-boundary sweep", *parts, f"--output {shlex.quote(output)}")


def safe(*parts: str) -> Command | None:
    """Return a command; None if a terminal would obey a part of it when it is pasted."""
    return parts if all(inert(part) == part for part in parts) else None


def _option(name: str, value: Any) -> str | None:
    """Return a setting as an option; None if the command line cannot give this value."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return option if value else f"--no-{option[2:]}"
    if name == "apply_chat_template":  # the name of a template
        return None
    if isinstance(value, Mapping):
        text = _pairs(value)
    elif isinstance(value, list):
        text = ",".join(map(str, value))
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{option} {shlex.quote(text)}"


def _pairs(arguments: Mapping[str, Any]) -> str:
    """Return arguments as ``k=v,…``, or as JSON if that would be read in another way."""
    plain = all(
        isinstance(value, (int, float, str)) and not set(str(value)) & set(",={}[]\"'")
        for value in arguments.values()
    )
    if not plain:
        return json.dumps(arguments)
    return ",".join(f"{name}={value}" for name, value in arguments.items())
