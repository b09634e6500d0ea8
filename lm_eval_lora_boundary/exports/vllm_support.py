"""Whether vLLM loads an adapter, judged by its config and the names of its tensors.

The rules are those of vLLM 0.32; each names the file there that it follows. vLLM itself is not
needed. What depends on vLLM's class for the base model is returned as a condition. ``shapes`` holds
the shape of every tensor, by its name in the file.
"""

from __future__ import annotations

from collections.abc import Mapping

from peft import PeftConfig

from ..cuts.adapter_folder import PREFIX
from ..cuts.kinds import is_lora, kind_of
from ..errors import AdapterError

# vllm/config/lora.py: MaxLoRARanks
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_DEFAULT_RANK = 16
# vllm/lora/peft_helper.py: PEFTHelper._init_is_supported
_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
# vllm/lora/peft_helper.py: PEFTHelper._validate_features
_FEATURES = {
    "use_dora": "DoRA (use_dora)",
    "lora_bias": "biases of LoRA layers (lora_bias)",
    "alora_invocation_tokens": "Activated LoRA (alora_invocation_tokens)",
    "layer_replication": "layer_replication",
    "use_bdlora": "block-diagonal LoRA (use_bdlora)",
    "use_qalora": "QALoRA (use_qalora)",
}
_CLASSIFIERS = ("classifier", "score")
# vllm/lora/utils.py: is_base_embedding_weights
_SKIPPED = (".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight")
# vllm/lora/layers/logits_processor.py: LogitsProcessorWithLoRA.create_lora_weights
_LARGEST_VOCABULARY = 258048


def refuse_for_vllm(config: PeftConfig) -> None:
    """Refuse an adapter that is not LoRA.

    Raises:
        AdapterError: It is not.
    """
    if not is_lora(config):
        raise AdapterError(
            f"{_not_lora(config)} Use --model lora_boundary (a sweep: --engine auto), or "
            "merge=True."
        )


def _not_lora(config: PeftConfig) -> str:
    return f"vLLM loads LoRA only, and this adapter is {kind_of(config).name}."


def vllm_problems(config: PeftConfig, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return the known reasons why vLLM will not load an adapter, a sentence each."""
    if not is_lora(config):
        return [_not_lora(config)]
    problems = [
        f"vLLM does not support {what}."
        for name, what in _FEATURES.items()
        if getattr(config, name, None)
    ]
    saved = sorted(set(config.modules_to_save or ()) - set(_CLASSIFIERS))
    if saved:
        problems.append(f"vLLM does not support modules_to_save ({', '.join(saved)}).")
    if config.bias != "none":
        problems.append(f"vLLM does not support trained biases (bias={config.bias}).")
    init = config.init_lora_weights
    if isinstance(init, str) and init.lower() not in _INITS:
        problems.append(f"vLLM does not support init_lora_weights={init}.")
    if max_lora_rank(config) is None:
        problems.append(f"Its rank {_rank(config)} is larger than vLLM's largest, {_RANKS[-1]}.")
    unknown = sorted(name for name in shapes if not _readable(name))
    if unknown:
        problems.append(f"vLLM cannot read {len(unknown)} of its tensors (first: {unknown[0]}).")
    problems += [
        f"The vocabulary of {name} is larger than vLLM's largest with LoRA, {_LARGEST_VOCABULARY}."
        for name, shape in shapes.items()
        if name.endswith("lm_head.lora_B.weight") and shape[0] > _LARGEST_VOCABULARY
    ]
    return problems


def vllm_conditions(config: PeftConfig, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return what must hold for vLLM to load an adapter, besides the rank, a sentence each."""
    if not is_lora(config):
        return []
    modules = {name.removeprefix(PREFIX).partition(".lora_")[0] for name in shapes}
    conditions = []
    # vllm/lora/utils.py: get_supported_lora_modules
    sides = sorted({"embed_tokens", "lm_head"} & {name.rpartition(".")[2] for name in modules})
    if sides:
        conditions.append(
            f"It has LoRA on {' and '.join(sides)}: vLLM's class of the base model must list them "
            "in embedding_modules, as Llama and Mixtral do and Qwen2 and Gemma-2 do not."
        )
    # vllm/lora/model_manager.py: _validate_moe_lora_format
    if any(name.endswith((".experts", ".experts.base_layer")) for name in modules):
        conditions.append(
            "Its experts are fused: vLLM's class of the base model must have is_3d_moe_weight, or "
            "start vLLM with --enable-mixed-moe-lora-format and is_3d_lora_weight=True in requests."
        )
    if config.rank_pattern or config.alpha_pattern:
        conditions.append(
            "It has different ranks or alphas (rank_pattern, alpha_pattern): vLLM 0.32 reads them; "
            "a release that does not would silently scale LoRA wrongly."
        )
    return conditions


def max_lora_rank(config: PeftConfig, least: int = _DEFAULT_RANK) -> int | None:
    """Return the smallest ``--max-lora-rank`` that an adapter fits, or None if none does.

    Args:
        config: The adapter's config.
        least: The smallest value to return. Below vLLM's default, the option is not needed, but a
            smaller value saves memory, since every slot has this rank.
    """
    # vllm/lora/peft_helper.py: PEFTHelper.validate_legal
    return next((rank for rank in _RANKS if rank >= max(_rank(config), least)), None)


def _rank(config: PeftConfig) -> int:
    ranks: list[int] = [config.r, *(config.rank_pattern or {}).values()]
    return max(ranks)


def _readable(name: str) -> bool:
    """Return whether vLLM can read a tensor (vllm/lora/utils.py: parse_fine_tuned_lora_name)."""
    if name.endswith(_SKIPPED):
        return True
    *_, owner, last = ("", *name.split("."))
    if last in ("lora_embedding_A", "lora_embedding_B"):
        return True
    if last == "weight" and owner in ("lora_A", "lora_B"):
        return True
    return last in ("weight", "bias") and owner in _CLASSIFIERS
