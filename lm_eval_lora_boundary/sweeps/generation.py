"""Which generation arguments there are, and which of them make more than greedy decoding."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from transformers import GenerationConfig

from ..errors import TaskError

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
        raise TaskError(f"{task}: generation argument {name} is unknown; {hint}")


def unusual_settings(model: Any) -> list[str]:
    """Return what in a model's own generation config makes greedy decoding more than that."""
    changed: dict[str, Any] = model.generation_config.to_diff_dict()
    return sorted(changed.keys() - _HARMLESS)
