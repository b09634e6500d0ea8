"""What exactly was run: in the keys of answers, and as one line for readers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ..cuts.fingerprint import config_content, json_sha256
from .settings import EvaluationSettings
from .sweep_model import SweepModel
from .tasks import LoadedTasks

_SHOWN = 80  # characters of a setting


def describe_run(lm: SweepModel, settings: EvaluationSettings) -> dict[str, Any]:
    """Return what decides an answer besides request and boundary."""
    names = ("lm-eval-lora-boundary", "lm-eval", "peft", "transformers", "torch")
    return {
        "base_sha256": lm.fingerprint,
        "adapter_sha256": lm.adapter.sha256,
        "adapter_config": lm.adapter.config.to_dict(),
        "softmax_dtype": str(lm.softmax_dtype),
        "mixed_precision_dtype": str(lm.mixed_precision_dtype),
        "attention": getattr(lm.model.config, "_attn_implementation", None),
        "config": config_content(lm.model.config),
        "generation_config": config_content(lm.model.generation_config),
        "vocabulary_sha256": json_sha256(sorted(lm.tokenizer.get_vocab().items())),
        "model_args": dict(settings.model_args),
        "versions": {name: version(name) for name in names},
        **lm.engine_facts,
    }


def signature(
    facts: Mapping[str, Any],
    settings: EvaluationSettings,
    tasks: LoadedTasks,
    how: str,
    asked: Mapping[str, object] | None = None,
) -> str:
    """Return one line that says exactly what was run.

    Args:
        facts: What :func:`describe_run` returned.
        settings: The model and the prompts.
        tasks: The tasks.
        how: What was done with them.
        asked: Further settings by name; those that are None or empty are left out.
    """
    versions = " ".join(f"{name}={number}" for name, number in facts["versions"].items())
    evaluated = ",".join(
        f"{name}:{task.VERSION}:{tasks.splits[name]}" for name, task in tasks.tasks.items()
    )
    parts = [
        f"base {facts['base_sha256'][:12]}",
        f"adapter {facts['adapter_sha256'][:12]}",
        facts["dtype"],
        f"tasks {evaluated}",
        f"limit {settings.documents}",
        f"fewshot {settings.num_fewshot}",
        f"chat {settings.apply_chat_template}",
        *_shown(_prompting(settings) | dict(asked or {})),
        how,
        versions,
    ]
    return " | ".join(parts)


def _prompting(settings: EvaluationSettings) -> dict[str, object]:
    return {
        "multiturn": settings.fewshot_as_multiturn,
        "system": settings.system_instruction and json.dumps(settings.system_instruction),
        "gen_kwargs": _pairs(settings.gen_kwargs),
        "model_args": _pairs(settings.model_args),
    }


def _shown(asked: Mapping[str, object]) -> list[str]:
    return [f"{name} {_short(value)}" for name, value in asked.items() if value not in (None, "")]


def _pairs(arguments: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(arguments.items()))


def _short(value: object) -> str:
    """Return text without what separates the parts of a signature; its beginning if it is long."""
    text = " ".join(str(value).replace("|", "/").split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def identity(facts: dict[str, Any]) -> str:
    """Return facts about a run as canonical text, to be part of the key of every answer."""
    return json.dumps(facts, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """Return what JSON has no form for; sets in an order that is the same in every process."""
    return sorted(value, key=str) if isinstance(value, (set, frozenset)) else str(value)
