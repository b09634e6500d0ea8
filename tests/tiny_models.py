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
# of those below, the tests of the shared forward also run on these
OTHERS = ("qwen2_moe", "deepseek_v3", "llama4_text", "qwen3_next")
OTHERS += ("bloom", "mpt")  # biases of attention in place of positions
OTHERS += ("lfm2", "bamba", "falcon_h1", "jamba")  # states in place of keys and values
MIXTURES = ("mixtral", "qwen2_moe", "deepseek_v3", "llama4_text", "qwen3_next")
_TARGETS = {  # with these, PEFT's "all-linear" fails or means experts as well
    "mixtral": ["q_proj", "o_proj"],
    "deepseek_v3": ["q_b_proj", "o_proj", "shared_experts.down_proj"],
    "llama4_text": ["q_proj", "o_proj", "up_proj", "down_proj"],
    "falcon_h1": ["q_proj", "in_proj", "down_proj"],
    "qwen3_next": ["q_proj", "in_proj_qkvz", "out_proj", "shared_expert.down_proj"],
}

# each other layer
_MIXED = ["sliding_attention", "full_attention"] * (LAYERS // 2)
_LINEAR = ["linear_attention", "full_attention"] * (LAYERS // 2)
_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}

# those of the support matrix; the tests of the rooms do not run on them
MORE_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "arcee": {},
    "bamba": _MAMBA2 | {"attn_layer_indices": [1, 3], "mamba_chunk_size": 8},
    "bloom": {},
    "codegen": {"n_positions": 128, "n_ctx": 128, "rotary_dim": 4, "n_inner": 48, "n_head": 4},
    "cohere": {"logit_scale": 0.3},
    "cohere2": {"head_dim": 8, "logit_scale": 0.3, "layer_types": _MIXED},
    "deepseek_v3": {
        **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8},
        **{"v_head_dim": 8, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2},
        **{"topk_group": 1, "moe_intermediate_size": 16, "first_k_dense_replace": 1},
        **{"num_key_value_heads": 4},
    },
    "ernie4_5": {"head_dim": 8},
    "exaone4": {"layer_types": _MIXED, "sliding_window": 64},
    "falcon_h1": _MAMBA2 | {"mamba_d_ssm": 64, "head_dim": 8, "mamba_chunk_size": 8},
    "gemma": {"head_dim": 8},
    "gemma3": {
        "text_config": {"head_dim": 8, "layer_types": _MIXED, "sliding_window": 64},
        "vision_config": {
            **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2},
            **{"num_attention_heads": 2, "image_size": 28, "patch_size": 14},
        },
        **{"mm_tokens_per_image": 4, "boi_token_index": 61, "eoi_token_index": 62},
        "image_token_index": 63,
    },
    "gemma3_text": {"head_dim": 8, "layer_types": _MIXED, "sliding_window": 64},
    "glm4": {"head_dim": 8},
    "gpt_bigcode": {"n_positions": 128, "n_inner": 48},
    "gpt_neo": {"attention_types": [[["global", "local"], LAYERS // 2]], "window_size": 8},
    "gpt_oss": {"head_dim": 8} | _LOCAL_EXPERTS | _ROPE,
    "gptj": {"n_positions": 128, "rotary_dim": 4, "n_inner": 48},
    "granite": {"logits_scaling": 3.0},
    "granitemoe": {"logits_scaling": 3.0} | _LOCAL_EXPERTS,
    "helium": {"head_dim": 8},
    "hunyuan_v1_dense": {"head_dim": 8},
    "jamba": {
        **{"num_experts": 2, "num_experts_per_tok": 1, "mamba_dt_rank": 4, "mamba_d_state": 4},
        **{"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2},
        **{"expert_layer_offset": 1, "use_mamba_kernels": False},
    },
    "lfm2": {"layer_types": ["conv", "full_attention"] * (LAYERS // 2), "block_ff_dim": 48},
    "llama4_text": {
        **{"head_dim": 8, "intermediate_size_mlp": 48},
        **{"num_local_experts": 2, "num_experts_per_tok": 1},
    },
    "mamba": {"state_size": 4},
    "minimax": {"head_dim": 8, "layer_types": _LINEAR, "block_size": 8} | _LOCAL_EXPERTS,
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": LAYERS, "max_seq_len": 128},
    "nemotron": {},
    "olmo2": {},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "persimmon": {},
    "qwen2_moe": {"shared_expert_intermediate_size": 24} | _EXPERTS,
    "qwen3_moe": {"head_dim": 8} | _EXPERTS,
    "qwen3_next": {
        **{"head_dim": 8, "shared_expert_intermediate_size": 24, "layer_types": _LINEAR},
        **{"linear_num_key_heads": 2, "linear_num_value_heads": 2},
        **{"linear_key_head_dim": 8, "linear_value_head_dim": 8},
        **_EXPERTS,
    },
    "recurrent_gemma": {
        **{"lru_width": 32, "attention_window_size": 16, "head_dim": 8},
        "block_types": ["recurrent", "attention"],
    },
    "seed_oss": {"head_dim": 8},
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {},
    "zamba2": {
        **{"mamba_d_state": 8, "mamba_headdim": 16, "n_mamba_heads": 4, "mamba_ngroups": 1},
        **{"chunk_size": 8, "layers_block_type": ["mamba", "hybrid"] * (LAYERS // 2)},
        **{"hybrid_layer_ids": [1, 3], "num_mem_blocks": 1, "num_key_value_heads": 4},
    },
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
    known = ARCHITECTURES | MORE_ARCHITECTURES
    own = known[architecture] | overrides
    if "text_config" in own:  # a decoder among other modalities
        settings = own | {"text_config": settings | own["text_config"]}
    else:
        settings |= own
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
    whole = tiny_model(**model)
    torch.manual_seed(0)  # as load_adapter does: pissa_niter draws random vectors
    cut = peft.PeftModel.from_pretrained(whole, adapter).eval()
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
