"""Kinds of adapters: which can be cut, and which change the base model when they are loaded."""

from __future__ import annotations

from peft import LoraConfig, PeftModel

from ..errors import AdapterError

# Initialisations that leave the base weights alone. Others (pissa, olora, corda, lora_ga, loftq,
# ...) subtract the adapter's initial product from them when the adapter is loaded.
KEEPS_BASE = (True, False, "gaussian", "orthogonal", "eva", "mica")


def rewrites_base(config: LoraConfig) -> str:
    """Return the setting that may make PEFT change base weights when it loads an adapter, or "".

    :func:`.load_adapter` compares the weights themselves. This is for when the weights from
    before are not known.
    """
    if getattr(config, "kasa_config", None) is not None:
        return "kasa_config"
    if config.init_lora_weights not in KEEPS_BASE:
        return f"init_lora_weights={config.init_lora_weights!r}"
    return ""


def check_supported(config: LoraConfig) -> None:
    """Refuse LoRA variants that boundaries are not defined for.

    Raises:
        AdapterError: The config asks for one.
    """
    if config.layer_replication:
        raise AdapterError(
            "layer_replication repeats layers of the base model, so its modules have no single "
            "depth; boundaries are not defined for this adapter"
        )
    if config.megatron_config:
        raise AdapterError(
            "megatron_config is for layers of Megatron-LM, which transformers does not run; "
            "convert the model and the adapter first"
        )
    if getattr(config, "arrow_config", None) is not None:
        raise AdapterError(
            "arrow_config routes tokens between several adapters, and a boundary needs one "
            "adapter; give one of those it routes between"
        )


def only_lora_config(model: PeftModel) -> LoraConfig:
    """Return the config of a model's only adapter.

    Raises:
        AdapterError: There are several, or it is not a LoRA adapter that can be cut.
    """
    configs = model.peft_config
    if len(configs) != 1:
        raise AdapterError(
            f"expected a model with one adapter, got {len(configs)} ({', '.join(configs)}); "
            "delete all but one with delete_adapter()"
        )
    config = next(iter(configs.values()))
    if not isinstance(config, LoraConfig):
        raise AdapterError(
            f"peft_type={getattr(config, 'peft_type', '?')}; expected LORA, which boundaries need"
        )
    check_supported(config)
    return config
