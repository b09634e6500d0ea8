"""Compare the ranks in an adapter's config with its tensors, before PEFT makes room for them."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from ..errors import AdapterError
from ..upstream.peft import check_target_module_exists, get_pattern_key
from .adapter_folder import AdapterFolder
from .kinds import LORA
from .patterns import ALL_LINEAR

# PEFT makes room for what its config says, and the file must fill it. This much is no harm.
_ALWAYS_ALLOWED = 100_000_000  # numbers
_ALWAYS_ALLOWED_SIZE = 4096
# what other kinds of adapters than LoRA call their sizes
_RANKS = ("r", "init_r", "target_r", "hybrid_r", "mini_r", "subspace_rank", "effective_rank")
_LENGTHS = ("n_frequency", "num_vectors", "vector_length", "theta_d_length", "num_B", "depth", "u")


def check_ranks(model: nn.Module, adapter: AdapterFolder) -> None:
    """Refuse a config for which PEFT would need far more memory than the tensors take.

    Raises:
        AdapterError: It is one.
    """
    config = adapter.config
    if adapter.kind is not LORA:
        _check_sizes(model, adapter)
        return
    selected = _selected(model, config)
    needed = sum(_rank(config, name)[1] * size for name, size in selected.items())
    in_file = sum(math.prod(shape) for name, shape in adapter.shapes.items() if ".lora_" in name)
    if needed <= _ALWAYS_ALLOWED + 4 * in_file:
        return
    largest = max(
        (
            shape[0]
            for name, shape in adapter.shapes.items()
            if shape and (".lora_A." in name or ".lora_embedding_A" in name)
        ),
        default=0,
    )
    where = max(sorted(selected), key=lambda name: _rank(config, name)[1])
    option, rank = _rank(config, where)
    raise AdapterError(
        f"{adapter.path}: the config says {option}={rank:,} for {where}, and the tensors have "
        f"ranks up to {largest}: PEFT would make room for {needed:,} numbers, and the file holds "
        f"{in_file:,}; write config and tensors together, as save_pretrained does"
    )


def _check_sizes(model: nn.Module, adapter: AdapterFolder) -> None:
    """Refuse a size that no weight of the model can have; for kinds other than LoRA."""
    largest = max((parameter.numel() for parameter in model.parameters()), default=0)
    widest = max((max(parameter.shape, default=0) for parameter in model.parameters()), default=0)
    ranks = getattr(adapter.config, "rank_pattern", None) or {}
    sizes = {name: getattr(adapter.config, name, None) for name in (*_RANKS, *_LENGTHS)}
    sizes |= {f"rank_pattern[{key!r:.60}]": rank for key, rank in ranks.items()}
    for name, size in sizes.items():
        limit = max(_ALWAYS_ALLOWED_SIZE, largest if name in _LENGTHS else widest)
        if isinstance(size, int) and size > limit:
            raise AdapterError(
                f"{adapter.path}: the config says {name}={size:,}, and expected at "
                f"most {limit:,} for this base model; write config and tensors together, as "
                "save_pretrained does"
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
    # experts, which are parameters with a LoRA for each
    targets = tuple(f".{target}" for target in config.target_parameters or ())
    for name, parameter in model.named_parameters():
        if targets and f".{name}".endswith(targets) and parameter.ndim == 3:
            found[name] = parameter.shape[0] * sum(parameter.shape[1:])
    return found


def _rank(config: Any, name: str) -> tuple[str, int]:
    """Return the rank of a module, after the option that says it."""
    key = get_pattern_key(config.rank_pattern.keys(), name)
    if key in config.rank_pattern:
        return f"rank_pattern[{key!r:.60}]", config.rank_pattern[key]
    return "r", config.r
