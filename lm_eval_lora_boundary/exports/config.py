"""The PEFT config of a cut: exactly the kept modules, in the form that every engine reads.

PEFT reads ``target_modules`` in three ways (short names, full paths, regular expression), and each
treats ``layers_to_transform`` and ``exclude_modules`` differently. A list of full module paths
needs neither. Rank and alpha are taken from the layers as PEFT built them. If all are the same, no
pattern is written, since not every engine reads patterns.
"""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from peft import PeftConfig

from ..cuts.cut import LoraCut
from ..cuts.keep import Cut
from ..cuts.kinds import LORA, Kind
from ..cuts.modules import AdaptedModule
from ..errors import AdapterError
from ..upstream.peft import (
    BaseTunerLayer,
    ExcludedModule,
    ModulesToSaveWrapper,
    ParamWrapper,
    TrainableTokensWrapper,
    check_target_module_exists,
    get_pattern_key,
)


def cut_config(
    config: PeftConfig, model: LoraCut, cut: Cut | int, module_names: Iterable[str]
) -> PeftConfig:
    """Return the config of what a cut keeps; the adapter's own if it keeps all in full.

    Strengths become alphas: PEFT and engines that read its config compute the scaled LoRA.

    Raises:
        AdapterError: No adapted module is left, so PEFT could not load the adapter; or the config
            cannot hold the cut's strengths.
    """
    result: Any = copy.deepcopy(config)
    result.inference_mode = True
    cut = model.cut(cut)
    kept = model.kept(cut)
    if len(kept) == len(model.modules) and all(cut.strengths[m.depth] == 1 for m in kept):
        return result
    layers = dict(_tuner_layers(kept))
    if not layers:
        raise AdapterError(
            f"{cut} keeps {', '.join(module.name for module in kept[:3])} but no "
            f"{model.kind.name} module, and PEFT cannot load an adapter without one; merge it into "
            "a checkpoint instead (--merge)"
        )
    _name_modules(result, kept, layers, module_names)
    strengths = {
        name: cut.strengths[module.depth] for module in kept for name, _ in _tuner_layers([module])
    }
    if model.kind is LORA:
        result.init_lora_weights = True  # every tensor is in the file
        result.r, result.rank_pattern = _common(_values(layers, "r"))
    else:
        _narrow(result, model.kind, layers)
        # an adapter that is not scaled keeps its own patterns, which still match
        if set(strengths.values()) == {1}:
            return result
    alpha = model.kind.alpha
    if not alpha:
        raise AdapterError(
            f"{cut} scales layers, and PEFT's config of {model.kind.name} has no strength per "
            "layer; keep layers in full, or merge it into a checkpoint (--merge)"
        )
    alphas = {
        name: _scaled_alpha(each, layers[name], strengths[name])
        for name, each in _values(layers, alpha).items()
    }
    common, result.alpha_pattern = _common(alphas)
    setattr(result, alpha, common)
    return result


def _name_modules(
    result: Any,
    kept: Iterable[AdaptedModule],
    layers: Mapping[str, Any],
    module_names: Iterable[str],
) -> None:
    """Write exactly the kept modules into a config; ``layers`` are those of the tuner."""
    parameters = [name for name, layer in layers.items() if isinstance(layer, ParamWrapper)]
    modules = [name for name in layers if name not in parameters]
    tokens = _token_indices(kept)
    saved = [module.name for module in kept if isinstance(module.adapted, ModulesToSaveWrapper)]
    settings = {
        "target_modules": modules,
        "target_parameters": parameters or None,
        "exclude_modules": None,
        "layers_to_transform": None,
        "layers_pattern": None,
        "modules_to_save": saved or None,
        "trainable_token_indices": tokens or None,
        # What would be tied to the embeddings is on the head side, so it is dropped.
        "ensure_weight_tying": False,
    }
    for name, value in settings.items():
        if hasattr(result, name):  # each kind has some of them
            setattr(result, name, value)
    if not _selects(result, module_names, set(modules)):
        # Another path ends with one of these; a regular expression is matched as a whole.
        result.target_modules = "|".join(map(re.escape, modules))


def _narrow(result: Any, kind: Kind, layers: Mapping[str, Any]) -> None:
    """Leave what is kept in the settings that say something about single modules."""
    for setting, attribute in kind.lists:
        chosen = [name for name, layer in layers.items() if getattr(layer, attribute)]
        setattr(result, setting, chosen)
    for setting in kind.maps:
        values = getattr(result, setting) or {}
        chosen_values = {
            path: value
            for path, value in values.items()
            if any(path.startswith(f"{name}.") for name in layers)
        }
        setattr(result, setting, chosen_values or None)


def _scaled_alpha(alpha: float, layer: Any, strength: float) -> float:
    """Return the alpha with which PEFT computes the layer's scaling times a strength.

    PEFT divides alpha by the rank or its root. The result must be the same to the last bit, so the
    neighbours of the quotient's inverse are tried as well.
    """
    if strength == 1:
        return alpha
    ((name, rank),) = layer.r.items()
    rooted = getattr(layer, "use_rslora", {}).get(name)  # LoRA only
    divisor = math.sqrt(rank) if rooted else rank
    wanted = alpha / divisor * strength
    scaled = wanted * divisor
    tried = (scaled, math.nextafter(scaled, math.inf), math.nextafter(scaled, -math.inf))
    return next((each for each in tried if each / divisor == wanted), scaled)


def _tuner_layers(modules: Iterable[AdaptedModule]) -> Iterator[tuple[str, Any]]:
    """Yield everything with settings of its own, by the path of its module or parameter."""
    for module in modules:
        layer: Any = module.adapted
        if isinstance(layer, BaseTunerLayer) and not isinstance(layer, ParamWrapper):
            yield module.name, layer
        while isinstance(layer, ParamWrapper):  # nested, one for each parameter
            yield f"{module.name}.{layer.parameter_name}", layer
            layer = layer.base_layer


def _values(layers: Mapping[str, Any], attribute: str) -> dict[str, Any]:
    """Return rank or alpha of every layer, which holds one per adapter."""
    return {
        name: value
        for name, layer in layers.items()
        for value in getattr(layer, attribute).values()
    }


def _token_indices(modules: Iterable[AdaptedModule]) -> dict[str, list[int]]:
    """Return the trained tokens of every module that has any."""
    return {
        module.name: list(indices)
        for module in modules
        if isinstance(module.adapted, TrainableTokensWrapper)
        for indices in module.adapted.token_adapter.token_indices.values()
    }


def _selects(config: PeftConfig, names: Iterable[str], wanted: set[str]) -> bool:
    """Return whether PEFT finds exactly the wanted modules with a config."""
    matches = {name: check_target_module_exists(config, name) for name in names}
    return wanted == {
        name for name, match in matches.items() if match and not isinstance(match, ExcludedModule)
    }


def _common(values: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the most common value, and the pattern of those that differ.

    PEFT takes the first key that the path ends with, as a regular expression. So longer paths come
    first, and a path that a shorter key would match gets its own key.
    """
    (common, _), *_ = Counter(values.values()).most_common(1)
    special = {name for name, value in values.items() if value != common}
    special |= {name for name in values if get_pattern_key(special, name) in special}
    pattern = {name: values[name] for name in sorted(special, key=lambda n: (-len(n), n))}
    return common, pattern
