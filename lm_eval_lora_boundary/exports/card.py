"""The model card: what was kept, and how to load it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined

from ..cuts.kinds import LORA
from ..errors import inert
from .usage import NO_CHECKPOINT, vllm_loads_base

PLACEHOLDER = "THIS_FOLDER"  # a card does not know where it will be read

_TEMPLATE = files(__package__) / "card.md.j2"
_STATISTICS = (
    *("value", "stderr", "delta_full", "ci_low", "ci_high", "p_value"),
    *("split", "documents"),
)


def model_card(facts: Mapping[str, Any], choice: Mapping[str, Any]) -> str:
    """Return the text of README.md.

    Args:
        facts: The facts of the export.
        choice: What a sweep recorded about the choice of the boundary; empty if nothing. Records
            of older releases hold less.
    """
    base, merged = inert(facts["base_model"] or ""), facts["merge"]
    results = [_result(score) for score in facts.get("scores", ())]
    data = ModelCardData(
        base_model=base or None,
        library_name="transformers" if merged else "peft",
        pipeline_tag="text-generation",
        tags=[
            *([f"base_model:adapter:{base}"] if base and not merged else []),
            *(["lora"] if facts["kind"] == LORA.name else []),
            "lora-boundary",
        ],
        model_name=inert(f"{facts['source']} (keep={facts['cut']})") if results else None,
        eval_results=results or None,
    )
    statistics = {
        name: value
        for name in _STATISTICS
        if isinstance(value := choice.get(name), (int, float) if name != "split" else str)
    }
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        metadata=data.to_yaml(),
        facts=facts,
        choice={
            name: _code(choice[name]) if choice.get(name) else None
            for name in ("task", "metric", "signature")
        }
        if choice
        else {},
        statistics={name: _shown(value) for name, value in statistics.items()},
        scores=facts.get("scores", ()),
        speed=facts.get("speed", ()),
        number=_number,
        here=PLACEHOLDER,
        no_checkpoint=None if vllm_loads_base(facts) else NO_CHECKPOINT,
        base_name=base,
        code=_code,
        sentence=_sentence,
        quoted=json.dumps,
        shell=shlex.quote,
        repr=repr,
    )


def _result(score: Mapping[str, Any]) -> EvalResult:
    """Return a score of a sweep as the hub's metadata holds it."""
    name, _, filtered = inert(score["metric"]).partition(",")
    return EvalResult(
        task_type="text-generation",
        dataset_type=inert(score["task"]),
        dataset_name=inert(score["task"]),
        dataset_split=inert(score["split"]),
        dataset_args={"documents": score["documents"]},
        metric_type=name,
        metric_name=f"{name} ({filtered})" if filtered else name,
        metric_value=score["value"],
        metric_args={
            "interval_95": [score["low"], score["high"]],
            "whole_adapter": score["whole"],
            "base_model": score["base"],
            "signature": inert(score["signature"]),
        },
    )


def _number(value: float | None) -> str:
    """Return a score as text."""
    return "–" if value is None else f"{value:.4g}"


def _shown(value: float | str) -> str:
    """Return a statistic as text."""
    if isinstance(value, str):
        return f"`{_code(value)}`"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _code(found: object) -> str:
    """Return what a stranger may have written, as it can stand between backticks in a table."""
    return inert(str(found)).replace("`", "'").replace("|", "\\|")


def _sentence(text: str) -> str:
    """Return a sentence that may quote an adapter's config, without HTML, links and pictures."""
    return inert(text).replace("<", "&lt;").replace("[", "\\[")
