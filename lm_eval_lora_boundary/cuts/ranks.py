"""Compare the ranks in an adapter's config with its tensors, before PEFT makes room for them."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from ..errors import AdapterError
from ..upstream.peft import check_target_module_exists, get_pattern_key
from .adapter_folder import AdapterFolder
from .patterns import ALL_LINEAR

# PEFT makes room for what its config says, and the file must fill it. This much is no harm.
_ALWAYS_ALLOWED = 100_000_000  # numbers


def check_ranks(model: nn.Module, adapter: AdapterFolder) -> None:
    """Refuse a config whose ranks are larger than those of the tensors.

    Raises:
        AdapterError: It is so, or PEFT would need far more memory than the tensors take.
    """
    config = adapter.config
    selected = _selected(model, config)
    largest = max(
        (
            shape[0]
            for name, shape in adapter.shapes.items()
            if shape and (".lora_A." in name or ".lora_embedding_A" in name)
        ),
        default=0,
    )
    for name in sorted({*adapter.lora_modules(), *selected}):
        option, rank = _rank(config, name)
        if largest and rank > largest:
            raise AdapterError(
                f"{adapter.path}: the config says {option}={rank:,} for {name}, and the tensors "
                f"have ranks up to {largest}; write config and tensors together, as "
                "save_pretrained does"
            )
    in_file = sum(math.prod(shape) for name, shape in adapter.shapes.items() if ".lora_" in name)
    needed = sum(_rank(config, name)[1] * size for name, size in selected.items())
    if needed > _ALWAYS_ALLOWED + 4 * in_file:
        raise AdapterError(
            f"{adapter.path}: the config selects {len(selected)} modules of this base model, whose "
            f"LoRA takes {needed:,} numbers, and the file holds {in_file:,}; write config and "
            "tensors together, as save_pretrained does"
        )


def _selected(model: nn.Module, config: Any) -> dict[str, int]:
    """Return the modules that the config selects, and how many numbers their LoRA has per rank."""
    found = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is None or weight.ndim < 2:
            continue
        everything = config.target_modules == ALL_LINEAR
        if everything or (config.target_modules and check_target_module_exists(config, name)):
            sizes = (
                getattr(module, "in_features", weight.shape[-1]),
                getattr(module, "out_features", weight.shape[0]),
            )
            found[name] = sum(sizes)
    return found


def _rank(config: Any, name: str) -> tuple[str, int]:
    """Return the rank of a module, after the option that says it."""
    key = get_pattern_key(config.rank_pattern.keys(), name)
    if key in config.rank_pattern:
        return f"rank_pattern[{key!r:.60}]", config.rank_pattern[key]
    return "r", config.r
