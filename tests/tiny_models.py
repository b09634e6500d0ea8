"""Tiny random models of many architectures, built from configs: no network, no files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import tokenizers
import torch
import transformers
from peft.tuners.lora import LoraLayer

VOCABULARY = 64
LAYERS = 4

# settings that differ from the common ones below
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "final_logit_softcapping": 5.0},
    "phi": {},
    "phi3": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "gpt2": {"n_positions": 128},
    "gpt_neox": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 16},
    "falcon": {"alibi": False, "new_decoder_architecture": True},
    "mixtral": {"num_local_experts": 2, "num_experts_per_tok": 1},
}
_SOME_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
# architectures that only the tests of the shared forward run on
OTHERS: dict[str, dict[str, Any]] = {
    "qwen2_moe": _SOME_EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 24},
    "deepseek_v3": _SOME_EXPERTS
    | {"n_routed_experts": 4, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1}
    | {"q_lora_rank": 16, "kv_lora_rank": 8, "num_key_value_heads": 4}
    | {"qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8},
    "llama4_text": {"num_local_experts": 2, "intermediate_size_mlp": 48, "head_dim": 8},
}
MIXTURES = ("mixtral", "qwen2_moe", "deepseek_v3", "llama4_text")
_TARGETS = {  # with these, PEFT's "all-linear" fails or means experts as well
    "mixtral": ["q_proj", "o_proj"],
    "deepseek_v3": ["q_b_proj", "o_proj", "shared_experts.down_proj"],
    "llama4_text": ["q_proj", "o_proj", "up_proj", "down_proj"],
}


def tiny_model(architecture: str = "llama", *, tied: bool = False, **overrides: Any) -> Any:
    """Build a random causal language model of a few thousand parameters, in fp32."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "initializer_range": 0.2,
    }
    settings |= (ARCHITECTURES | OTHERS)[architecture] | overrides
    config = transformers.AutoConfig.for_model(architecture, **settings)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.eval()


def randomise(model: Any, seed: int = 1, scale: float = 0.3) -> Any:
    """Give every adapter tensor random values, since PEFT starts with B = 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name or "trainable_tokens" in name:
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.data = parameter.data * 0.5 + noise.to(parameter.dtype)
    return model


def lora_config(architecture: str = "llama", **config: Any) -> peft.LoraConfig:
    """Return a small LoRA config; keyword arguments as in ``peft.LoraConfig``."""
    targets = _TARGETS.get(architecture, "all-linear")
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": targets}
    settings |= {"task_type": "CAUSAL_LM", "fan_in_fan_out": architecture == "gpt2"}
    if architecture in MIXTURES:  # their experts are 3-D parameters, not linear modules
        settings["target_parameters"] = ["experts.gate_up_proj", "experts.down_proj"]
    return peft.LoraConfig(**(settings | config))


def save_adapter(folder: Path, base: Any, **config: Any) -> Path:
    """Write a random LoRA adapter for ``base``, which is changed, and return its folder."""
    model = peft.get_peft_model(base, lora_config(base.config.model_type, **config))
    randomise(model).save_pretrained(folder)
    return folder


def tiny_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Build a word-level tokenizer with ``VOCABULARY`` words: w0 w1 …."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = special + [f"w{i}" for i in range(VOCABULARY - len(special))]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def disable_above(model: Any, boundary: int) -> None:
    """Cut in another way: by PEFT's switch in every layer whose name has a deeper index."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            side = 0 if name.endswith("project_in") else LAYERS - 1
            layer = next((int(part) for part in name.split(".") if part.isdigit()), side)
            module.enable_adapters(layer <= boundary)


def cut_by_hand(adapter: Path, boundary: int, **model: Any) -> Any:
    """Cut in another way: PEFT, with modules of a fresh base model in place of dropped ones."""
    cut = peft.PeftModel.from_pretrained(tiny_model(**model), adapter).eval()
    base, fresh = cut.get_base_model(), tiny_model(**model)
    for name in [name for name, module in base.named_modules() if isinstance(module, LoraLayer)]:
        layer = next((int(part) for part in name.split(".") if part.isdigit()), LAYERS - 1)
        if layer > boundary:
            parent, _, attribute = name.rpartition(".")
            setattr(base.get_submodule(parent), attribute, fresh.get_submodule(name))
    return cut


def grown_adapter(folder: Path, *, tied: bool, save: bool = True, **config: Any) -> Any:
    """Save an adapter trained on a base with three more tokens, and return the model."""
    model = tiny_model(tied=tied)
    model.resize_token_embeddings(VOCABULARY + 3, mean_resizing=False)
    trained = randomise(peft.get_peft_model(model, lora_config(**config))).eval()
    trained.save_pretrained(folder, save_embedding_layers=save)
    return trained
