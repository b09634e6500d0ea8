"""What exactly was run: as part of the keys of answers, and as one line for readers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..cuts.fingerprint import config_content, json_sha256
from .model_info import versions
from .settings import EvaluationSettings
from .sweep_model import SweepModel
from .tasks import LoadedTasks

_LONGEST = 80  # characters of a setting in the signature


def describe_run(lm: SweepModel, settings: EvaluationSettings) -> dict[str, Any]:
    """Return what decides an answer besides the request and the boundary."""
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
        "versions": versions(),
        **lm.engine_facts,
    }


def signature(
    facts: Mapping[str, Any],
    settings: EvaluationSettings,
    tasks: LoadedTasks,
    how: str,
    more: Mapping[str, object] | None = None,
    tested: tuple[str, int] | None = None,
) -> str:
    """Return one line that says exactly what was run.

    Args:
        facts: What :func:`describe_run` returned.
        settings: The model and the prompts.
        tasks: The tasks.
        how: What was done with them.
        more: Further settings by name; None and "" are left out.
        tested: One of the tasks, if its scores on the test split are meant, with their number of
            documents; None for all tasks on the splits that are chosen on.
    """
    splits = tasks.splits if tested is None else {tested[0]: "test"}
    evaluated = ",".join(
        f"{name}:{tasks.tasks[name].VERSION}:{split}" for name, split in splits.items()
    )
    system = settings.system_instruction
    shown = {
        "multiturn": settings.fewshot_as_multiturn,
        "system": system and json.dumps(system),
        "gen_kwargs": _pairs(settings.generation),
        "model_args": _pairs(settings.model_args),
        **(more or {}),
        "documents": None if tested is None else tested[1],
    }
    parts = [
        f"base {facts['base_sha256'][:12]}",
        f"adapter {facts['adapter_sha256'][:12]}",
        facts["dtype"],
        f"tasks {evaluated}",
        f"limit {settings.documents}",
        f"fewshot {settings.num_fewshot}",
        f"chat {settings.apply_chat_template}",
        *(f"{name} {_short(value)}" for name, value in shown.items() if value not in (None, "")),
        how,
        " ".join(f"{name}={number}" for name, number in facts["versions"].items()),
    ]
    return " | ".join(parts)


def _pairs(arguments: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(arguments.items()))


def _short(value: object) -> str:
    """Return a text without what separates the parts of a signature.

    A long one is cut off. A hash of all of it then tells it from others that begin like it.
    """
    text = " ".join(str(value).replace("|", "/").split())
    if len(text) <= _LONGEST:
        return text
    whole = str(value).encode("utf-8", "surrogatepass")
    return f"{text[:_LONGEST]}… {hashlib.sha256(whole).hexdigest()[:12]}"


def identity(facts: dict[str, Any]) -> str:
    """Return facts about a run as canonical text, for the keys of answers."""
    return json.dumps(facts, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """Return what JSON cannot hold as text; sets in an order that is the same in every process."""
    return sorted(value, key=str) if isinstance(value, (set, frozenset)) else str(value)
