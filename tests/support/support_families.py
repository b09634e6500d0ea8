"""The rows of decoder families, each a tiny random model with LoRA, and how to compute them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
from support_by_hand import UNABLE, Trained
from support_cells import COLUMNS, Row
from support_reasons import reason
from tiny_models import lora_config, randomise, tiny_model, tiny_tokenizer

ALL = "all-linear"
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class Family:
    """A family of decoders.

    Attributes:
        title: How the page calls it.
        architecture: Its name in transformers.
        targets: The modules with LoRA. ``all-linear`` would select routers and experts in some
            families, which have rows of their own among the kinds of adapters.
        settings: Settings of the model beside those of ``tiny_models``, as pairs.
    """

    title: str
    architecture: str
    targets: str | tuple[str, ...] = ALL
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def about(self) -> str:
        """What is adapted, for the page."""
        return "all linear" if self.targets == ALL else ", ".join(self.targets)

    def cells(self, folder: Path) -> dict[str, str]:
        """Compute the row; files go into ``folder``."""
        try:
            model = tiny_model(self.architecture, **dict(self.settings))
            model.save_pretrained(folder / "base")
            tiny_tokenizer().save_pretrained(folder / "base")
            targets = self.targets if isinstance(self.targets, str) else list(self.targets)
            config = lora_config(self.architecture, target_modules=targets, target_parameters=None)
            randomise(peft.get_peft_model(model, config)).save_pretrained(folder / "adapter")
        except UNABLE as error:
            return dict.fromkeys(COLUMNS, f"not run by PEFT: {reason(error)}")
        return Row(Trained(folder / "base", folder / "adapter"), folder).cells()


FAMILIES = (
    Family("Arcee", "arcee"),
    Family("Bamba", "bamba"),
    Family("BLOOM", "bloom"),
    Family("CodeGen", "codegen"),
    Family("Cohere", "cohere"),
    Family("Cohere 2", "cohere2"),
    Family(
        "DeepSeek-V3",
        "deepseek_v3",
        ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"),
    ),
    Family("ERNIE 4.5", "ernie4_5"),
    Family("EXAONE 4", "exaone4"),
    Family("Falcon", "falcon"),
    Family("Falcon-H1", "falcon_h1", (*ATTENTION, "in_proj")),
    Family("Gemma", "gemma"),
    Family("Gemma 2", "gemma2"),
    Family("Gemma 3, text", "gemma3_text"),
    Family("Gemma 3, with images", "gemma3"),
    Family("GLM-4", "glm4"),
    Family("GPT-2", "gpt2"),
    Family("GPT-BigCode", "gpt_bigcode"),
    Family("GPT-J", "gptj"),
    Family("GPT-Neo", "gpt_neo"),
    Family("GPT-NeoX", "gpt_neox"),
    Family("GPT-OSS", "gpt_oss"),
    Family("Granite", "granite"),
    Family("Granite-MoE", "granitemoe"),
    Family("Helium", "helium"),
    Family("Hunyuan", "hunyuan_v1_dense"),
    Family("Jamba", "jamba"),
    Family("LFM2", "lfm2"),
    Family("Llama", "llama"),
    Family("Llama 4, text", "llama4_text", ATTENTION),
    Family("Mamba", "mamba", ("in_proj", "x_proj")),
    Family("MiniMax", "minimax", (*ATTENTION, "qkv_proj", "output_gate", "out_proj")),
    Family("Mistral", "mistral"),
    Family("Mixtral", "mixtral", ATTENTION),
    Family("MPT", "mpt"),
    Family("Nemotron", "nemotron"),
    Family("OLMo 2", "olmo2"),
    Family("OLMoE", "olmoe", ATTENTION),
    # without the projections around the decoder of one of its sizes
    Family("OPT", "opt", settings=(("word_embed_proj_dim", 32),)),
    Family("Persimmon", "persimmon"),
    Family("Phi", "phi"),
    Family("Phi-3", "phi3"),
    Family("Qwen2", "qwen2"),
    Family("Qwen2-MoE", "qwen2_moe"),
    Family("Qwen3", "qwen3"),
    Family("Qwen3-MoE", "qwen3_moe", ATTENTION),
    Family("Qwen3-Next", "qwen3_next", (*ATTENTION, "in_proj_ba", "in_proj_qkvz", "out_proj")),
    Family("RecurrentGemma", "recurrent_gemma"),
    Family("Seed-OSS", "seed_oss"),
    Family("SmolLM3", "smollm3"),
    Family("StableLM", "stablelm"),
    Family("StarCoder2", "starcoder2"),
    Family("Zamba 2", "zamba2"),
)
