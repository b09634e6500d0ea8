"""The PEFT config of a cut: exactly the kept modules, in the form that every engine reads.

PEFT reads ``target_modules`` in three ways (short names, full paths, regular expression), and each
has its own idea of ``layers_to_transform`` and ``exclude_modules``. A list of full module paths
needs neither. Rank and alpha are taken from the layers as PEFT built them; where all are the same,
no pattern is written, since not every engine reads patterns.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from peft import LoraConfig
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper, get_pattern_key

from ..cuts.cut import LoraCut
from ..cuts.modules import AdaptedModule
from ..errors import AdapterError


def cut_config(config: LoraConfig, cut: LoraCut, boundary: int, names: Iterable[str]) -> LoraConfig:
    """Return the config of the adapter that a boundary keeps.

    Where the boundary drops nothing, it is the adapter's own.

    Args:
        config: The config of the whole adapter.
        cut: The whole adapter on the model.
        boundary: The boundary.
        names: Paths of all modules of the base model.

    Raises:
        AdapterError: No LoRA module is left, so that PEFT could not load the adapter.
    """
    result = copy.deepcopy(config)
    result.inference_mode = True
    if not cut.dropped(boundary):
        return result
    kept = cut.kept(boundary)
    layers = dict(_lora_layers(kept))
    if not layers:
        raise AdapterError(
            f"boundary={boundary} keeps {', '.join(module.name for module in kept[:3])} but no "
            "LoRA module, and PEFT loads no adapter without one; merge it into a checkpoint "
            "instead (--merge)"
        )
    result.target_modules = _modules(layers)
    result.target_parameters = _parameters(layers) or None
    result.exclude_modules = None
    result.layers_to_transform = None
    result.layers_pattern = None
    result.modules_to_save = [
        module.name for module in kept if isinstance(module.adapted, ModulesToSaveWrapper)
    ] or None
    result.trainable_token_indices = _token_indices(kept) or None
    # what would be tied to the embeddings is on the head side, so dropped
    result.ensure_weight_tying = False
    # every tensor is in the file
    result.init_lora_weights = True
    if not _selects(result, names, set(_modules(layers))):
        # a path that another one ends with; a regular expression is matched as a whole
        result.target_modules = "|".join(re.escape(name) for name in _modules(layers))
    result.r, result.rank_pattern = _common(
        {name: layer.r[adapter] for name, layer in layers.items() for adapter in layer.r}
    )
    result.lora_alpha, result.alpha_pattern = _common(
        {
            name: layer.lora_alpha[adapter]
            for name, layer in layers.items()
            for adapter in layer.lora_alpha
        }
    )
    return result


def _lora_layers(modules: Iterable[AdaptedModule]) -> Iterator[tuple[str, Any]]:
    """Yield what has a rank of its own, by the path of its module or parameter."""
    for module in modules:
        layer: Any = module.adapted
        if not isinstance(layer, ParamWrapper):
            if isinstance(layer, LoraLayer):
                yield module.name, layer
            continue
        while isinstance(layer, ParamWrapper):  # one around another, for each parameter
            yield f"{module.name}.{layer.parameter_name}", layer
            layer = layer.base_layer


def _modules(layers: Mapping[str, Any]) -> list[str]:
    return [name for name, layer in layers.items() if not isinstance(layer, ParamWrapper)]


def _parameters(layers: Mapping[str, Any]) -> list[str]:
    return [name for name, layer in layers.items() if isinstance(layer, ParamWrapper)]


def _token_indices(modules: Iterable[AdaptedModule]) -> dict[str, list[int]]:
    """Return the trained tokens of every module that has some."""
    return {
        module.name: list(indices)
        for module in modules
        if isinstance(module.adapted, TrainableTokensWrapper)
        for indices in module.adapted.token_adapter.token_indices.values()
    }


def _selects(config: LoraConfig, names: Iterable[str], wanted: set[str]) -> bool:
    """Tell whether PEFT finds exactly the wanted modules with a config."""
    found = {name: check_target_module_exists(config, name) for name in names}
    return {
        name for name, match in found.items() if match and not isinstance(match, _ExcludedModule)
    } == wanted


def _common(values: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the most common value, and the pattern of those that differ.

    PEFT takes the first key that the path ends with, as a regular expression. Longer paths come
    first, and a path that a shorter one would catch gets its own key, so that every path finds
    its own value.
    """
    (common, _), *_ = Counter(values.values()).most_common(1)
    special = {name for name, value in values.items() if value != common}
    special |= {name for name in values if get_pattern_key(special, name) in special}
    pattern = {name: values[name] for name in sorted(special, key=lambda n: (-len(n), n))}
    return common, pattern
