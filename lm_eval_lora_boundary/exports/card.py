"""The model card: what was kept, and how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, StrictUndefined

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
    base, merged = facts["base_model"], facts["merge"]
    data = ModelCardData(
        base_model=base or None,
        library_name="transformers" if merged else "peft",
        pipeline_tag="text-generation",
        tags=[
            *([f"base_model:adapter:{base}"] if base and not merged else []),
            *("lora", "lora-boundary"),
        ],
    )
    statistics = {name: choice[name] for name in _STATISTICS if choice.get(name) is not None}
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        metadata=data.to_yaml(),
        facts=facts,
        choice={name: choice.get(name) for name in ("task", "metric", "signature")}
        if choice
        else {},
        statistics={
            name: f"{value:.4g}" if isinstance(value, float) else value
            for name, value in statistics.items()
        },
        here=PLACEHOLDER,
        quoted=json.dumps,
        repr=repr,
    )
