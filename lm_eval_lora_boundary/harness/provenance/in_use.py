"""What a run uses: the base model, its weights, and how prompts and responses are tokenized."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from transformers import GenerationConfig

from ...errors import OutputError
from ...files import read_object
from ...upstream.lm_eval_models import handle_stop_sequences
from .facts import InUse, Stops
from .folder import token

FIRST = 8  # tokens of the first prompt that are shown


def in_use(
    base: Any,
    revision: str | None,
    config: Any,
    dtype: object,
    *,
    unpacked: bool = False,
) -> InUse:
    """Return the facts about the base model of a run.

    Args:
        base: The base model as the user gave it: a name, or a loaded model.
        revision: Its revision on the hub.
        config: Its config.
        dtype: Precision of its weights, as a dtype of torch or by name.
        unpacked: How the weights are stored does not say how they are computed with.
    """
    named = isinstance(base, str)
    name = base if named else str(getattr(config, "_name_or_path", "") or "")
    folder = Path(name)
    local = bool(name) and folder.is_dir()
    if isinstance(dtype, str):
        dtype = config.dtype if dtype == "auto" else getattr(torch, dtype, None)
    bits = None if unpacked else weight_bits(config, dtype)
    quantised = f"quantised to {bits} bits"
    return InUse(
        base=name or None,
        origins=_origins(folder) if local else (),
        revision=revision if named and not local else None,
        commit=getattr(config, "_commit_hash", None),
        bits=bits,
        precision=quantised if bits in (4, 8) else str(dtype).removeprefix("torch."),
    )


def weight_bits(config: Any, dtype: object) -> int | None:
    """Return how many bits a weight has; None if that is not known."""
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        plain = isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype.itemsize > 1
        return 8 * dtype.itemsize if plain and isinstance(dtype, torch.dtype) else None
    settings = stored if isinstance(stored, dict) else stored.to_dict()
    for loaded in (4, 8):
        if settings.get(f"load_in_{loaded}bit"):
            return loaded
    bits = settings.get("bits")
    return bits if isinstance(bits, int) and bits in (4, 8) else None


def stops(requests: Iterable[Instance], ends: Sequence[int], tokenizer: Any) -> list[Stops]:
    """Return what ends the responses to requests, in all ways that they ask for.

    Args:
        requests: Requests of kind ``generate_until``.
        ends: The model's own end-of-text tokens.
        tokenizer: The tokenizer in use.
    """
    eos = tokenizer.eos_token_id
    end = None if eos is None else token(eos, tokenizer).text
    found: dict[Stops, None] = {}
    for request in requests:
        arguments = request.args[1]
        until = arguments.get("until")
        # lm-eval adds to the list that it is given
        strings = handle_stop_sequences(list(until) if isinstance(until, list) else until, end)
        given = arguments.get("eos_token_id")
        numbers = ends if given is None else given if isinstance(given, list) else [given]
        tokens = tuple(token(number, tokenizer) for number in numbers)
        found[Stops(tokens, tuple(strings))] = None
    return list(found)


def stored_end_tokens(base: str, revision: str | None, config: Any) -> list[int]:
    """Return the tokens that end a response by the generation config stored with a base model."""
    try:
        stored = GenerationConfig.from_pretrained(base, revision=revision or "main")
    except OSError:
        stored = GenerationConfig.from_model_config(config)
    return end_tokens(stored)


def end_tokens(generation_config: Any) -> list[int]:
    """Return the tokens that end a response."""
    end = generation_config.eos_token_id
    return list(end) if isinstance(end, list) else [] if end is None else [end]


def _origins(folder: Path) -> tuple[str, ...]:
    """Return the name that the config in a model's folder gives."""
    path = folder / "config.json"
    try:
        name = read_object(path, "").get("_name_or_path") if path.is_file() else None
    except OutputError:
        return ()
    return (name,) if isinstance(name, str) and name.strip() else ()
