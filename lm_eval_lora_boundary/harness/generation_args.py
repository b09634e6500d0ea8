"""Which generation arguments there are, and which of them make more than greedy decoding."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from lm_eval.models.utils import normalize_gen_kwargs
from transformers import GenerationConfig

from ..errors import TaskError

# a list that was taken for a string; [END] and [/INST] are strings that end responses
_LIST = re.compile(r"""\[.*[,"'].*\]""", re.DOTALL)
# keys of a generation config that mean nothing to greedy decoding up to a length
_HARMLESS = {
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id",
    "do_sample", "temperature", "top_p", "top_k", "min_p", "typical_p", "top_h",
    "max_length", "use_cache", "cache_implementation",
    "transformers_version", "_from_model_config", "return_dict_in_generate",
    "output_attentions", "output_hidden_states", "output_scores", "output_logits",
}  # fmt: skip


def check_arguments(arguments: Mapping[str, Any], model: Any, task: str) -> None:
    """Refuse generation arguments that nothing takes.

    Args:
        arguments: The arguments.
        model: The transformers model.
        task: Name of the task, for the message.

    Raises:
        TaskError: Neither ``generate`` nor the model's forward pass takes an argument.
    """
    known = {*GenerationConfig().to_dict()}  # type: ignore[no-untyped-call]
    known |= {*signature(model.generate).parameters, *signature(model.forward).parameters}
    for name in arguments.keys() - known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "see transformers' GenerationConfig"
        if name.strip().startswith("stop"):
            hint = 'lm-eval calls the strings that end a response until: until=["a","b"]'
        raise TaskError(f"{task}: generation argument {name} is unknown; {hint}")


def check_until(until: Any, task: str) -> None:
    """Refuse what cannot end a response.

    Args:
        until: lm-eval's argument ``until``, as it was given.
        task: Name of the task, for the message.

    Raises:
        TaskError: It is no text and no list of texts, or a text that was meant as a list.
    """
    strings = [until] if isinstance(until, str) else [] if until is None else until
    if not isinstance(strings, list) or not all(isinstance(each, str) for each in strings):
        raise TaskError(
            f'{task}: until={until!r}; expected a string or a list of strings: until=["a","b"]'
        )
    for each in strings:
        if _LIST.fullmatch(each.strip()):
            raise TaskError(
                f"{task}: the stop string {each!r} looks like a list, and as a string it would "
                'hardly ever end a response; give a list of strings: until=["a","b"]'
            )


def as_text(arguments: Mapping[str, Any], task: str) -> str:
    """Return generation arguments as canonical JSON.

    Raises:
        TaskError: There is a value that JSON does not know.
    """
    try:
        return json.dumps(arguments, sort_keys=True)
    except TypeError as error:
        raise TaskError(
            f"{task}: the generation arguments {arguments} cannot be used: {error}"
        ) from error


def normalised(
    arguments: Mapping[str, Any], max_gen_toks: int, max_length: int, task: str
) -> dict[str, Any]:
    """Return generation arguments as lm-eval completes them.

    Args:
        arguments: The arguments.
        max_gen_toks: Most tokens of a response, where they do not say.
        max_length: Most tokens of prompt and response.
        task: Name of the task, for the message.

    Raises:
        TaskError: They cannot be used.
    """
    check_until(arguments.get("until"), task)
    try:
        options = dict(normalize_gen_kwargs(dict(arguments), max_gen_toks))
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"{task}: the generation arguments {arguments} cannot be used: {error}"
        ) from error
    if not 1 <= options["max_gen_toks"] < max_length:
        raise TaskError(
            f"{task}: max_gen_toks={options['max_gen_toks']} leaves no room for a prompt with "
            f"max_length={max_length}; expected 1 to {max_length - 1}"
        )
    return options


def check_max_length(options: Mapping[str, Any], prompt: int, task: str) -> None:
    """Refuse a length of prompt and response that the prompt alone fills.

    Args:
        options: Generation arguments.
        prompt: Length of the prompt, in tokens.
        task: Name of the task, for the message.

    Raises:
        TaskError: It does, or it is no integer.
    """
    most = options.get("max_length", prompt + 1)
    if not isinstance(most, int) or most <= prompt:
        raise TaskError(
            f"{task}: max_length={most} leaves no room after a prompt of {prompt} tokens; give "
            "max_gen_toks instead, which does not count the prompt"
        )


def unusual_settings(model: Any) -> list[str]:
    """Return what in a model's own generation config makes greedy decoding more than that."""
    changed: dict[str, Any] = model.generation_config.to_diff_dict()
    return sorted(changed.keys() - _HARMLESS)
