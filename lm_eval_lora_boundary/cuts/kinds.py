"""Kinds of adapters: which can be cut, and what can be done with each.

:data:`KINDS` has a line for every kind that PEFT knows. A test compares it with PEFT's own
registry, so that a kind that a later PEFT adds is looked at before anybody uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import peft
from peft import LoraConfig, PeftConfig, PeftModel

from ..errors import AdapterError
from ..upstream.peft import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
    BaseTunerLayer,
)


@dataclass(frozen=True)
class Kind:
    """What can be done with the adapters of one kind.

    Attributes:
        name: What its authors call it.
        scaling: Attribute of its layers in PEFT that holds a factor on all that the layer adds, by
            adapter; "" if there is none, so that a strength other than 0 and 1 means nothing.
        alpha: Setting from which PEFT computes this factor for every layer (with
            ``alpha_pattern``), so that an exported config can hold strengths; "" if there is none.
        lists: Settings that list some of the adapted modules, and the attribute of a layer that
            says whether it is among them.
        maps: Settings whose keys are paths inside adapted modules.
        refusal: Why it cannot be cut by layers; "" if it can.
    """

    name: str
    scaling: str = ""
    alpha: str = ""
    lists: tuple[tuple[str, str], ...] = ()
    maps: tuple[str, ...] = ()
    refusal: str = ""


_TOKENS = "it adds virtual tokens before the text, and changes nothing in the layers themselves"
_CACHE = "it adds keys and values of virtual tokens, from one module for all layers"

LORA = Kind("LoRA", "scaling", "lora_alpha")
# By PEFT's peft_type.
KINDS: dict[str, Kind] = {
    "LORA": LORA,
    "ADALORA": Kind("AdaLoRA", "scaling", maps=("rank_pattern",)),
    "ADAMSS": Kind("AdaMSS"),
    "BEFT": Kind("BEFT"),
    "BOFT": Kind("BOFT"),
    "C3A": Kind("C3A"),
    "DEFT": Kind("DEFT"),
    "DELORA": Kind("DeLoRA"),
    "FOURIERFT": Kind("FourierFT", "fourierft_scaling"),
    "FROD": Kind("FRoD"),
    "GLORA": Kind("GLoRA"),
    "GRALORA": Kind("GraLoRA", "scaling"),
    "HIRA": Kind("HiRA"),
    "HRA": Kind("HRA"),
    "IA3": Kind("IA³", lists=(("feedforward_modules", "is_feedforward"),)),
    "LILY": Kind("Lily", "scaling"),
    "LN_TUNING": Kind("LN tuning"),
    "LOHA": Kind("LoHa", "scaling", "alpha"),
    "LOKR": Kind("LoKr", "scaling", "alpha"),
    "MISS": Kind("MiSS"),
    "OFT": Kind("OFT"),
    "OSF": Kind("OSF"),
    "PEANUT": Kind("PEANuT", "scaling"),
    "PSOFT": Kind("PSOFT", "scaling"),
    "PVERA": Kind("PVeRA"),
    "RANDLORA": Kind("RandLoRA", "scaling"),
    "ROAD": Kind("RoAd"),
    "SHIRA": Kind("SHiRA", "scaling"),
    "SUPERTUNING": Kind("Supertuning"),
    "TINYLORA": Kind("TinyLoRA"),
    "TRAINABLE_TOKENS": Kind("trainable tokens"),
    "UNILORA": Kind("Uni-LoRA"),
    "VBLORA": Kind("VB-LoRA"),
    "VERA": Kind("VeRA"),
    "WAVEFT": Kind("WaveFT", "waveft_scaling"),
    "ADAPTION_PROMPT": Kind(
        "adaption prompt",
        refusal="it adds prompts inside whole attention modules, for which PEFT has no base layer",
    ),
    "CARTRIDGE": Kind("cartridge", refusal=_CACHE),
    "CPT": Kind("CPT", refusal=_TOKENS),
    "MULTITASK_PROMPT_TUNING": Kind("multitask prompt tuning", refusal=_TOKENS),
    "P_TUNING": Kind("P-tuning", refusal=_TOKENS),
    "POLY": Kind("Poly", refusal="it works only with a task's number (task_ids) in every call"),
    "PREFIX_TUNING": Kind("prefix tuning", refusal=_CACHE),
    "PROMPT_TUNING": Kind("prompt tuning", refusal=_TOKENS),
    "SHADOW": Kind(
        "Shadow", refusal="a second model runs beside the layers, and each layer hands its state on"
    ),
    "XLORA": Kind("X-LoRA", refusal="a classifier mixes several adapters, for all layers at once"),
}

# Initialisations that leave the base weights alone. Others (pissa, olora, corda, lora_ga, loftq,
# ...) subtract the adapter's initial product from them when the adapter is loaded.
KEEPS_BASE = (True, False, "gaussian", "orthogonal", "eva", "mica")


def kind_of(config: PeftConfig) -> Kind:
    """Return what can be done with an adapter.

    Raises:
        AdapterError: It cannot be cut by layers.
    """
    return named_kind(getattr(config.peft_type, "value", config.peft_type))


def named_kind(peft_type: object, source: object = "this adapter") -> Kind:
    """Return what can be done with adapters of a ``peft_type``; ``source`` has one.

    Raises:
        AdapterError: They cannot be cut by layers, or are not known.
    """
    kind = KINDS.get(peft_type) if isinstance(peft_type, str) else None
    if kind is None:
        known = isinstance(peft_type, str) and peft_type in PEFT_TYPE_TO_CONFIG_MAPPING
        raise AdapterError(
            f"{source} has peft_type={peft_type}, "
            + (
                "which is newer than this package"
                if known
                else f"unknown to PEFT {peft.__version__}"
            )
            + "; expected one that can be cut by layers, such as LORA. Use --model hf."
        )
    if kind.refusal:
        remedy = "PEFT cannot convert it to LoRA either; use --model hf."
        if _converts(str(peft_type)):
            remedy = "Convert it to LoRA with PEFT's save_as_lora() first."
        raise AdapterError(
            f"{source} has peft_type={peft_type}; a boundary needs an adapter with a part in every "
            f"layer, and {kind.name} has none: {kind.refusal}. {remedy}"
        )
    if peft_type not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise AdapterError(
            f"{source} has peft_type={peft_type}, which PEFT {peft.__version__} does not have; "
            "install a newer PEFT"
        )
    return kind


def _converts(peft_type: str) -> bool:
    """Return whether PEFT converts adapters of a kind to LoRA."""
    tuner: Any = PEFT_TYPE_TO_TUNER_MAPPING.get(peft_type)
    layer: Any = getattr(tuner, "tuner_layer_cls", None)
    if not hasattr(peft, "save_as_lora") or not isinstance(layer, type):
        return False
    own: Any = BaseTunerLayer.supports_lora_conversion
    classes: list[Any] = [layer, *layer.__subclasses__()]
    return any(each.supports_lora_conversion is not own for each in classes)


def config_class(peft_type: str) -> type[Any]:
    """Return PEFT's class for the configs of a kind."""
    found: type[Any] = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type]
    return found


def tensor_prefix(config: PeftConfig) -> str:
    """Return how the names of a kind's tensors begin inside a module, such as ``lora_``."""
    return str(PEFT_TYPE_TO_PREFIX_MAPPING[config.peft_type])


def rewrites_base(config: PeftConfig) -> str:
    """Return the setting that may make PEFT change base weights when it loads an adapter, or "".

    :func:`.load_adapter` compares the weights themselves. This is for when the weights from
    before are not known.
    """
    if getattr(config, "kasa_config", None) is not None:
        return "kasa_config"
    return rewriting_init(config)


def rewriting_init(config: PeftConfig) -> str:
    """Return the initialisation that may make PEFT change base weights, or ""."""
    initial = getattr(config, "init_lora_weights", True)
    kept = (initial.lower() if isinstance(initial, str) else initial) in KEEPS_BASE
    return "" if kept else f"init_lora_weights={initial!r}"


def check_supported(config: PeftConfig) -> None:
    """Refuse variants that boundaries are not defined for.

    Raises:
        AdapterError: The config asks for one.
    """
    if getattr(config, "layer_replication", None):
        raise AdapterError(
            "layer_replication repeats layers of the base model, so its modules have no single "
            "depth; boundaries are not defined for this adapter"
        )
    if getattr(config, "megatron_config", None):
        raise AdapterError(
            "megatron_config is for layers of Megatron-LM, which transformers does not run; "
            "convert the model and the adapter first"
        )
    if getattr(config, "arrow_config", None) is not None:
        raise AdapterError(
            "arrow_config routes tokens between several adapters, and a boundary needs one "
            "adapter; give one of those it routes between"
        )


def only_config(model: PeftModel) -> PeftConfig:
    """Return the config of a model's only adapter.

    Raises:
        AdapterError: There are several, or it cannot be cut.
    """
    configs = model.peft_config
    if len(configs) != 1:
        raise AdapterError(
            f"expected a model with one adapter, got {len(configs)} ({', '.join(configs)}); "
            "delete all but one with delete_adapter()"
        )
    config = next(iter(configs.values()))
    kind_of(config)
    check_supported(config)
    return config


def is_lora(config: PeftConfig) -> bool:
    """Return whether an adapter is LoRA itself, and not one of the kinds derived from it."""
    return isinstance(config, LoraConfig) and kind_of(config) is LORA
