"""Check and complete generation arguments, and find those that go beyond greedy decoding.

The errors do not name the task; the caller does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from transformers import GenerationConfig

from ..errors import TaskError
from ..upstream.lm_eval_models import normalize_gen_kwargs

# A list that was read as a string. [END] and [/INST] are strings that end responses.
_LIST = re.compile(r"""\[.*[,"'].*\]""", re.DOTALL)
# Keys of a generation config that do not affect greedy decoding up to a length.
_HARMLESS = {
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id",
    "do_sample", "temperature", "top_p", "top_k", "min_p", "typical_p", "top_h",
    "max_length", "use_cache", "cache_implementation",
    "transformers_version", "_from_model_config", "return_dict_in_generate",
    "output_attentions", "output_hidden_states", "output_scores", "output_logits",
}  # fmt: skip


def check_names(arguments: Mapping[str, Any], model: Any) -> None:
    """Raise a TaskError if neither ``generate`` nor the forward pass takes an argument."""
    known = {*GenerationConfig().to_dict()}  # type: ignore[no-untyped-call]
    known |= {*signature(model.generate).parameters, *signature(model.forward).parameters}
    for name in arguments.keys() - known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "see transformers' GenerationConfig"
        if name.strip().startswith("stop"):
            hint = 'lm-eval calls the strings that end a response until: until=["a","b"]'
        raise TaskError(f"generation argument {name} is unknown; {hint}")


def _check_until(until: Any) -> None:
    strings = [until] if isinstance(until, str) else [] if until is None else until
    if not isinstance(strings, list) or not all(isinstance(string, str) for string in strings):
        raise TaskError(f'until={until!r}; expected a string or a list of strings: until=["a","b"]')
    for string in strings:
        if _LIST.fullmatch(string.strip()):
            raise TaskError(
                f"the stop string {string!r} looks like a list, and as a string it would hardly "
                'ever end a response; give a list of strings: until=["a","b"]'
            )


def as_text(arguments: Mapping[str, Any]) -> str:
    """Return generation arguments as canonical JSON, or raise a TaskError if that is impossible."""
    try:
        return json.dumps(arguments, sort_keys=True)
    except TypeError as error:
        raise _unusable(arguments, error) from error


def completed(arguments: Mapping[str, Any], max_gen_toks: int, max_length: int) -> dict[str, Any]:
    """Return generation arguments as lm-eval completes them.

    Args:
        arguments: The arguments.
        max_gen_toks: Tokens of a response at most, unless the arguments say it.
        max_length: Tokens of prompt and response at most.

    Raises:
        TaskError: The arguments cannot be used.
    """
    _check_until(arguments.get("until"))
    if (number := arguments.get("num_return_sequences") or 1) != 1:
        raise TaskError(
            f"num_return_sequences={number}: lm-eval takes one response for each request; leave it "
            "out, and set `repeats` in the task's YAML for several"
        )
    try:
        options = dict(normalize_gen_kwargs(dict(arguments), max_gen_toks))
    except (TypeError, ValueError) as error:
        raise _unusable(arguments, error) from error
    if not 1 <= options["max_gen_toks"] < max_length:
        raise TaskError(
            f"max_gen_toks={options['max_gen_toks']} leaves no room for a prompt with "
            f"max_length={max_length}; expected 1 to {max_length - 1}"
        )
    return options


def _unusable(arguments: Mapping[str, Any], error: Exception) -> TaskError:
    return TaskError(f"the generation arguments {arguments} cannot be used: {error}")


def check_max_length(options: Mapping[str, Any], prompt: int) -> None:
    """Raise a TaskError if ``max_length`` is not an integer above the length of the prompt."""
    limit = options.get("max_length", prompt + 1)
    if not isinstance(limit, int) or limit <= prompt:
        raise TaskError(
            f"max_length={limit} leaves no room after a prompt of {prompt} tokens; give "
            "max_gen_toks instead, which does not count the prompt"
        )


def unusual_settings(model: Any) -> list[str]:
    """Return the settings of a model's own generation config beyond greedy decoding."""
    changed: dict[str, Any] = model.generation_config.to_diff_dict()
    return sorted(changed.keys() - _HARMLESS)
