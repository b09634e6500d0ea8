"""The insides of PEFT: the classes that wrap modules, and the rules that choose modules.

Their attributes (``lora_A``, ``scaling``, ``base_layer`` and so on) are used where adapters are cut
and run. ``tests/upstream/test_insides.py`` asks PEFT for each.
"""

from __future__ import annotations

from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from peft.tuners.lora.variants import ALoraLinearVariant, calculate_alora_offsets
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
    "ALoraLinearVariant",
    "AuxiliaryTrainingWrapper",
    "BaseTunerLayer",
    "ExcludedModule",
    "LoraLayer",
    "ModulesToSaveWrapper",
    "ParamWrapper",
    "TrainableTokensWrapper",
    "calculate_alora_offsets",
    "check_target_module_exists",
    "get_pattern_key",
    "onload_layer",
]

ExcludedModule = _ExcludedModule
