"""The insides of PEFT: the classes that wrap modules, and the rules that choose modules.

Their attributes (``lora_A``, ``scaling``, ``base_layer`` and so on) are used where adapters are cut
and run. ``tests/upstream/test_insides.py`` asks PEFT for each.
"""

from __future__ import annotations

from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from peft.tuners.lora.variants import (
    ALoraLinearVariant,
    BdLoraLinearVariant,
    MiCAEmbeddingVariant,
    MiCALinearVariant,
    calculate_alora_offsets,
)
from peft.tuners.tuners_utils import (
    BaseTunerLayer,
    _ExcludedModule,
    check_target_module_exists,
    onload_layer,
)
from peft.utils.other import (
    AuxiliaryTrainingWrapper,
    ModulesToSaveWrapper,
    TrainableTokensWrapper,
    get_pattern_key,
)

__all__ = [
    "PEFT_TYPE_TO_CONFIG_MAPPING",
    "PEFT_TYPE_TO_PREFIX_MAPPING",
    "PEFT_TYPE_TO_TUNER_MAPPING",
    "ALoraLinearVariant",
    "AuxiliaryTrainingWrapper",
    "BaseTunerLayer",
    "BdLoraLinearVariant",
    "ExcludedModule",
    "LoraLayer",
    "MiCAEmbeddingVariant",
    "MiCALinearVariant",
    "ModulesToSaveWrapper",
    "ParamWrapper",
    "TrainableTokensWrapper",
    "calculate_alora_offsets",
    "check_target_module_exists",
    "get_pattern_key",
    "onload_layer",
    "unlike_lora",
]

ExcludedModule = _ExcludedModule


def unlike_lora(layer: LoraLayer) -> object | None:
    """Return the variant of LoRA that a layer computes, or None if it computes plain LoRA.

    MiCA trains fewer tensors, and computes as LoRA does.
    """
    variants = layer.lora_variant.values()
    return next((each for each in variants if not isinstance(each, MiCALinearVariant)), None)
