"""Base models without weights: their structure tells what fits, what is kept and dropped."""

from __future__ import annotations

import copy
from typing import Any

import torch
import transformers
from torch import nn

from .checks import loading_base, refuse_adapter_folder


def load_config(pretrained: str, revision: str | None, *, trust_remote_code: bool) -> Any:
    """Return the config of a base model.

    Args:
        pretrained: Hub id or local folder.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Whether to run code that comes with the model.

    Raises:
        ModelError: It cannot be loaded, or an adapter comes with it.
    """
    with loading_base(pretrained):
        refuse_adapter_folder(pretrained, revision or "main")
        return transformers.AutoConfig.from_pretrained(
            pretrained, revision=revision or "main", trust_remote_code=trust_remote_code
        )


def empty_model(config: Any, *, trust_remote_code: bool = False) -> Any:
    """Return a causal language model on the meta device: all modules, no values.

    Args:
        config: Its config, which is left as it is.
        trust_remote_code: Whether to run code that comes with the model.

    Raises:
        ModelError: It is no causal language model, or cannot be built.
    """
    with loading_base(getattr(config, "_name_or_path", "")), torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            copy.deepcopy(config), trust_remote_code=trust_remote_code
        )


def weightless(model: nn.Module) -> bool:
    """Tell whether a model has no weights at all, and not only some that are offloaded."""
    return all(parameter.is_meta for parameter in model.parameters())
