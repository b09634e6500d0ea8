"""Complete the settings that a user gave: what takes libraries to read, and the base model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from transformers import PreTrainedModel

from ..cuts.base_model import loaded_model
from .as_trained import prompt_settings
from .key_values import read_key_values
from .provenance.base_name import find_base
from .settings import EvaluationSettings

_OF_PROMPTS = {
    *("data", "include_path", "num_fewshot", "apply_chat_template", "no_template"),
    "system_instruction",
}
Settings = TypeVar("Settings", bound=EvaluationSettings)


def completed(given: Settings, **arguments: Sequence[str] | None) -> Settings:
    """Return settings of the command line with its ``k=v`` options, and with their base model.

    Args:
        given: The other settings.
        **arguments: What each of these options was given, by its attribute.

    Raises:
        LoraBoundaryError: An option cannot be read, or there is no base model; the subclass tells.
    """
    options = {
        name: read_key_values(texts, f"--{name.replace('_', '-')}")
        for name, texts in arguments.items()
    }
    changed: Any = options
    return with_base(replace(given, **changed))


def with_base(settings: Settings) -> Settings:
    """Return settings with the base model that the adapter's config names, if none is given.

    Raises:
        LoraBoundaryError: It cannot be found; the subclass tells why.
    """
    base, arguments = find_base(settings.pretrained or None, settings.peft, settings.model_args)
    return replace(settings, pretrained=base, model_args=arguments)


def settings_from_python(
    kind: type[Settings],
    pretrained: str | PreTrainedModel | None,
    peft: str | Path,
    tasks: str | Sequence[str] | None,
    **settings: Any,
) -> tuple[Settings, PreTrainedModel | None]:
    """Return the settings that a Python caller gave, and the loaded model if it gave one.

    Args:
        kind: Class of the settings.
        pretrained: Base model: hub id, local folder, or a loaded model; None for the one that the
            adapter's config names.
        peft: Adapter: hub id or local folder.
        tasks: Task names: a list, or text with commas; None for data of the user's own, or for
            the task of the adapter's training.
        **settings: Further attributes. Arguments may be text (``"k=v,…"``), boundaries a list.

    Raises:
        LoraBoundaryError: A value cannot be used.
    """
    model = loaded_model(pretrained)
    if not isinstance(boundaries := settings.get("boundaries", ""), str):
        settings["boundaries"] = ",".join(map(str, boundaries))
    for option in settings.keys() & {"model_args", "gen_kwargs"}:
        settings[option] = read_key_values(settings[option], option)
    name = pretrained if model is None else model.config._name_or_path
    if settings.get("data") is not None:
        settings["data"] = str(settings["data"])
    known = {name: settings.pop(name) for name in settings.keys() & _OF_PROMPTS}
    prompts = prompt_settings(str(peft), settings.get("model_args"), tasks=tasks, **known)
    base = "" if name is None else str(name)
    given = kind(pretrained=base, peft=str(peft), **prompts, **settings)
    return with_base(given), model
