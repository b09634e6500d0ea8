"""The base model of an adapter, where the user names none."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ...cuts.adapter_folder import AdapterFolder, open_adapter
from ...errors import ModelError, first_line
from ...upstream.transformers import cached_file
from .. import processes

logger = logging.getLogger("lm_eval.lora_boundary")


def base_of(
    adapter: AdapterFolder | None, pretrained: Any, arguments: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return the base model, and the arguments to load it with.

    If none is given, it is the one that the adapter's config names, at the revision that it names
    unless another one is given.

    Args:
        adapter: The adapter, if there is one.
        pretrained: What the user gave; None for nothing.
        arguments: Arguments of lm-eval's model.

    Raises:
        ModelError: None is given, and the config names none or one that cannot be found.
    """
    known = dict(arguments)
    if pretrained is not None:
        return pretrained, known
    if adapter is None:
        raise ModelError("neither pretrained nor peft is given; give at least one of them")
    config = f"{adapter.path / 'adapter_config.json'}"
    name = adapter.config.base_model_name_or_path
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ModelError(
            f"pretrained is not given, and {config} names no base model "
            f"(base_model_name_or_path is {name!r}); give pretrained"
        )
    if adapter.config.revision is not None and known.get("revision") is None:
        known["revision"] = adapter.config.revision
    _check(name, config, known)
    if processes.rank() == 0:
        revision = f", revision {known['revision']}," if known.get("revision") else ""
        logger.info("base model %s%s as %s names it", name, revision, config)
    return name, known


def find_base(
    pretrained: str | None, peft: str, arguments: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the base model and its arguments, as :func:`base_of`, for an adapter by its name.

    Args:
        pretrained: What the user gave; None for nothing.
        peft: The adapter: hub id or local folder.
        arguments: Arguments of lm-eval's model, and ``peft_revision``.

    Raises:
        AdapterError: The adapter is needed and cannot be used.
        ModelError: As :func:`base_of`.
    """
    if pretrained is not None:
        return pretrained, dict(arguments)
    revision = arguments.get("peft_revision")
    adapter = open_adapter(peft, None if revision is None else str(revision))
    name, known = base_of(adapter, None, arguments)
    return str(name), known


def _check(name: str, config: str, arguments: Mapping[str, Any]) -> None:
    """Raise a ModelError unless the base model is a local folder or on the hub."""
    file = arguments.get("gguf_file") or "config.json"
    revision = str(arguments.get("revision") or "main")
    try:
        cached_file(name, file, revision=revision, subfolder=arguments.get("subfolder") or "")
    except (OSError, ValueError) as error:
        raise ModelError(
            f"pretrained is not given, and the base model {name} that {config} names cannot be "
            f"loaded ({type(error).__name__}: {first_line(error)}); give pretrained"
        ) from error
