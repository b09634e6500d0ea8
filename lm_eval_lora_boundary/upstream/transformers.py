"""The insides of transformers: module paths below its top, and arguments that are renamed."""

from __future__ import annotations

from collections.abc import Iterable

from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.pytorch_utils import Conv1D
from transformers.utils.hub import cached_file
from transformers.utils.peft_utils import find_adapter_config_file

__all__ = [
    "CACHE_NAMES",
    "BaseModelOutputWithPast",
    "Conv1D",
    "DynamicLayer",
    "LinearAttentionCacheLayerMixin",
    "cache_name",
    "cached_file",
    "find_adapter_config_file",
    "hide_progress_bars",
]

# 5.24 has renamed the decoder's cache argument, and 5.40 removes the old name. Models that come
# with their own code may keep it. Mamba has a name of its own.
CACHE_NAMES = ("cache", "past_key_values", "cache_params")


def cache_name(arguments: Iterable[str]) -> str | None:
    """Return which of a decoder's arguments is the cache; None if it takes none."""
    accepted = set(arguments)
    return next((name for name in CACHE_NAMES if name in accepted), None)


def hide_progress_bars() -> None:
    """Show no progress while weights are loaded."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
