"""How a sweep was run, for a reader who wants to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .data import SweepFound

# settings that decide what a trace sees
_SHARED = (
    *("pretrained", "peft", "tasks", "split", "limit", "dtype", "model_args", "include_path"),
    *("num_fewshot", "apply_chat_template", "fewshot_as_multiturn", "system_instruction"),
)
_HASHED = {"pretrained": "base ", "peft": "adapter "}  # their parts of the signature


def run_facts(found: SweepFound) -> dict[str, str]:
    """Return what was run: a name and a value each."""
    settings = found.settings
    facts = {
        "base model": _hashed(found, "pretrained"),
        "adapter": _hashed(found, "peft"),
        "precision": _precision(found),
        "tasks": _text(settings.get("tasks")) or ", ".join(task.name for task in found.tasks),
        "documents": _documents(settings),
        "chat template": _template(settings),
        "few-shot examples": _text(settings.get("num_fewshot")) or "the task's own number",
        "system message": _text(settings.get("system_instruction")),
        "model arguments": _text(settings.get("model_args")),
        "generation arguments": _text(settings.get("gen_kwargs")),
        "engine": found.engine,
        "date": found.date or "",
        "versions": _versions(found),
    }
    return {name: value for name, value in facts.items() if value}


def other_settings_of_trace(found: SweepFound) -> list[str]:
    """Return in which settings the trace differs from the sweep."""
    trace, sweep = found.trace_settings, found.settings
    return [
        f"{name.replace('_', ' ')} {_text(trace.get(name)) or 'not set'} "
        f"(sweep: {_text(sweep.get(name)) or 'not set'})"
        for name in _SHARED
        if name in trace and name in sweep and trace.get(name) != sweep.get(name)
    ]


def all_settings(found: SweepFound) -> dict[str, str]:
    """Return the settings that have a value, as text."""
    return {
        key.replace("_", " "): _text(value)
        for key, value in found.settings.items()
        if value is not None and value not in ({}, [], "")
    }


def _text(value: Any) -> str:
    """Return a setting as text; empty if it has no value."""
    if value is None or value in ({}, [], ""):
        return ""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    return str(value)


def _hashed(found: SweepFound, name: str) -> str:
    """Return a model with the beginning of its hash."""
    value = _text(found.settings.get(name))
    parts = [part for part in found.signature.split(" | ") if part.startswith(_HASHED[name])]
    if not parts:
        return value
    return f"{value} (SHA-256 {parts[0].removeprefix(_HASHED[name])}…)".strip()


def _precision(found: SweepFound) -> str:
    """Return the precision that was used, or else the one that was asked for."""
    for part in found.signature.split(" | "):
        if part.startswith("torch."):
            return part.removeprefix("torch.")
    return _text(found.settings.get("dtype"))


def _documents(settings: Mapping[str, Any]) -> str:
    limit = settings.get("limit")
    if isinstance(limit, bool) or not isinstance(limit, (int, float)):
        return "all of each split"
    return f"the first {limit:g} of each split" if limit >= 1 else f"{limit:.4g} of each split"


def _template(settings: Mapping[str, Any]) -> str:
    value = settings.get("apply_chat_template")
    return value if isinstance(value, str) else "yes" if value else "no"


def _versions(found: SweepFound) -> str:
    last = found.signature.rpartition(" | ")[2]
    return last.replace(" ", ", ").replace("=", " ") if "lm-eval=" in last else ""
