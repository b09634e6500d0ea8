"""The rows of kinds of adapters, and how each is trained and saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import torch
from support_by_hand import UNABLE, Trained
from support_cells import COLUMNS, Row
from support_reasons import reason, short
from tiny_models import VOCABULARY, lora_config, randomise, tiny_model, tiny_tokenizer


@dataclass(frozen=True)
class Kind:
    """A kind of adapter.

    Attributes:
        title: How the page calls it.
        config: Settings of ``peft.LoraConfig``.
        note: What the config does not say, for the page.
        architecture: Of the base model.
        model: Settings of the base model.
        written: Settings that are written into the saved config, since PEFT cannot train so here.
        more_rows: How many tokens the adapter adds to the vocabulary.
        name: What the adapter is called in the model that trained it.
        save: Arguments of ``save_pretrained``.
        tensors: Precision of the saved tensors.
        dtype: Precision of the base model.
        before: What the initialisation needs: changes the model, given the config.
    """

    title: str
    config: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    architecture: str = "llama"
    model: Mapping[str, Any] = field(default_factory=dict)
    written: dict[str, Any] = field(default_factory=dict)
    more_rows: int = 0
    name: str = "default"
    save: Mapping[str, Any] = field(default_factory=dict)
    tensors: torch.dtype = torch.float32
    dtype: torch.dtype = torch.float32
    before: Callable[[Any, peft.LoraConfig], object] | None = None

    @property
    def about(self) -> str:
        """What is adapted and how, for the page."""
        settings = {} if self.note else self.config | self.written
        said = [f"{name}: {short(each)}" for name, each in settings.items()]
        tied = "tied head" if self.model.get("tied") else ""
        base = "" if self.architecture == "llama" else self.architecture
        return ", ".join(filter(None, [self.note, *said, base, tied])) or "all linear"

    def cells(self, folder: Path) -> dict[str, str]:
        """Compute the row; files go into ``folder``."""
        tiny_model(self.architecture, **self.model).to(self.dtype).save_pretrained(folder / "base")
        tiny_tokenizer().save_pretrained(folder / "base")
        try:
            self._train(folder / "adapter")
        except UNABLE as error:
            return dict.fromkeys(COLUMNS, f"not run by PEFT: {reason(error)}")
        adapter = folder / "adapter" / ("" if self.name == "default" else self.name)
        grow = self._grow if self.more_rows else None
        return Row(Trained(folder / "base", adapter, self.dtype, grow), folder).cells()

    def _train(self, folder: Path) -> None:
        """Save an adapter with random values in all that would be trained."""
        model = tiny_model(self.architecture, **self.model)
        if self.more_rows:
            self._grow(model)
        config = lora_config(self.architecture, **self.config)
        if self.before is not None:
            self.before(model, config)
        trained = randomise(peft.get_peft_model(model, config, adapter_name=self.name))
        generator = torch.Generator().manual_seed(2)
        for name, parameter in trained.named_parameters():
            if parameter.requires_grad and name.endswith(("bias", "lora_diag")):
                parameter.data += torch.randn(parameter.shape, generator=generator) * 0.3
        if self.more_rows and self.save.get("save_embedding_layers"):
            trained.get_input_embeddings().weight.data += 0.1
        trained.to(self.tensors).save_pretrained(folder, **self.save)
        if self.written:
            path = folder / "adapter_config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | self.written))

    def _grow(self, model: Any) -> None:
        torch.manual_seed(3)
        model.resize_token_embeddings(VOCABULARY + self.more_rows, mean_resizing=False)


def _corda(model: Any, config: peft.LoraConfig) -> None:
    from peft.tuners.lora.corda import preprocess_corda

    tokens = torch.arange(64).reshape(4, 16)
    preprocess_corda(model, config, run_model=lambda: model(tokens))


def _lora_ga(model: Any, config: peft.LoraConfig) -> None:
    from peft.tuners.lora.loraga import preprocess_loraga

    tokens = torch.arange(64).reshape(4, 16)

    def step() -> None:
        model(input_ids=tokens, labels=tokens).loss.backward()

    preprocess_loraga(model, config, step)


SOME = ["q_proj", "v_proj"]
EVERY_LAYER = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(4)]
TIED = {"tied": True}
BOTH = {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}

TARGETS = (
    Kind("short names", {"target_modules": SOME}),
    Kind(
        "full paths",
        {"target_modules": EVERY_LAYER},
        "target_modules: `model.layers.0.self_attn.q_proj`, …",
    ),
    Kind("regular expression", {"target_modules": r".*\.layers\.\d+\.self_attn\.[qo]_proj"}),
    Kind("all-linear", {"target_modules": "all-linear"}),
    Kind("exclude_modules", {"exclude_modules": ["down_proj", "model.layers.2.self_attn.q_proj"]}),
    Kind("exclude_modules, expression", {"exclude_modules": r".*\.2\..*"}),
    Kind("layers_to_transform", {"target_modules": SOME, "layers_to_transform": [0, 2]}),
    Kind("layers_to_transform, one layer", {"target_modules": SOME, "layers_to_transform": 1}),
    Kind(
        "layers_pattern",
        {"target_modules": SOME, "layers_to_transform": [0, 3], "layers_pattern": "layers"},
    ),
    Kind("projections around the decoder", {}, "with `project_in` and `project_out`", "opt"),
    Kind("module that is never called", {"target_modules": ["dt_proj", "x_proj"]}, "", "mamba"),
    Kind("Conv1D", {"target_modules": ["c_attn", "c_fc"]}, architecture="gpt2"),
)
VALUES = (
    Kind("rank_pattern", {"rank_pattern": {"q_proj": 2, r"layers\.[12]\.mlp\.up_proj": 3}}),
    Kind("alpha_pattern", {"alpha_pattern": {"layers.0.self_attn.q_proj": 3, "v_proj": 5}}),
    Kind("rsLoRA", {"use_rslora": True}),
    Kind("lora_dropout", {"lora_dropout": 0.5}),
    Kind("lora_bias", {"lora_bias": True}, architecture="phi"),
    Kind("lora_bias, no bias below", {"lora_bias": True, "target_modules": SOME}),
    Kind("bias: lora_only", {"bias": "lora_only"}, architecture="phi"),
    Kind("bias: all", {"bias": "all"}, architecture="phi"),
)
SIDES = (
    Kind("embedding", {"target_modules": ["q_proj", "embed_tokens"]}),
    Kind("head", {"target_modules": ["q_proj", "lm_head"]}),
    Kind("embedding and head", BOTH),
    Kind("embedding, tied", {"target_modules": ["q_proj", "embed_tokens"]}, model=TIED),
    Kind("head, tied", {"target_modules": ["q_proj", "lm_head"]}, model=TIED),
    Kind("embedding and head, tied", BOTH, model=TIED),
    Kind(
        "ensure_weight_tying, targets",
        BOTH | {"ensure_weight_tying": True},
        "`embed_tokens`, `lm_head`",
        model=TIED,
    ),
    Kind("linear layers, tied", model=TIED),
    Kind("modules_to_save: head", {"modules_to_save": ["lm_head"]}),
    Kind("modules_to_save: embedding", {"modules_to_save": ["embed_tokens"]}),
    Kind("modules_to_save: both", {"modules_to_save": ["embed_tokens", "lm_head"]}),
    Kind("modules_to_save: norm", {"modules_to_save": ["norm"]}),
    Kind("modules_to_save: mlp", {"target_modules": SOME, "modules_to_save": ["mlp"]}),
    Kind("modules_to_save: embedding, tied", {"modules_to_save": ["embed_tokens"]}, model=TIED),
    Kind("modules_to_save: head, tied", {"modules_to_save": ["lm_head"]}, model=TIED),
    Kind(
        "ensure_weight_tying, modules_to_save",
        {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        model=TIED,
    ),
    Kind("trainable_token_indices", {"trainable_token_indices": [5, 6]}),
    Kind("trainable_token_indices, head", {"trainable_token_indices": {"lm_head": [7, 9]}}),
    Kind("trainable_token_indices, tied", {"trainable_token_indices": [5, 6]}, model=TIED),
    Kind(
        "ensure_weight_tying, tokens",
        {
            "trainable_token_indices": {"embed_tokens": [5], "lm_head": [5]},
            "ensure_weight_tying": True,
        },
        model=TIED,
    ),
)
PARAMETERS = (
    Kind("target_parameters, experts", {}, "attention and experts", "mixtral"),
    Kind(
        "target_parameters, experts only",
        {"target_modules": [], "target_parameters": ["experts.down_proj"]},
        architecture="mixtral",
    ),
    Kind(
        "routers and experts",
        {"target_modules": "all-linear", "target_parameters": None},
        "target_modules: `all-linear`",
        "mixtral",
    ),
)
STARTS = (
    *(
        Kind(f"init_lora_weights: {value}", {"init_lora_weights": value})
        for value in (
            *(True, False, "gaussian", "eva", "orthogonal", "mica"),
            *("olora", "pissa", "pissa_niter_4"),
        )
    ),
    Kind(
        "init_lora_weights: corda",
        {"init_lora_weights": "corda", "corda_config": peft.tuners.lora.config.CordaConfig()},
        before=_corda,
    ),
    Kind(
        "init_lora_weights: loftq",
        {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4, "loftq_iter": 1}},
    ),
    Kind(
        "init_lora_weights: lora_ga",
        {
            "target_modules": SOME,
            "init_lora_weights": "lora_ga",
            "lora_ga_config": peft.LoraGAConfig(),
        },
        before=_lora_ga,
    ),
    Kind("PiSSA, embedding", BOTH | {"init_lora_weights": "pissa"}),
    Kind("MiCA, embedding", BOTH | {"init_lora_weights": "mica"}),
)
VARIANTS = (
    Kind("DoRA", {"use_dora": True}),
    Kind("DoRA, embedding", BOTH | {"use_dora": True}),
    Kind(
        "DoRA, convolution",
        {"use_dora": True, "target_modules": ["conv_1d"], "r": 32},
        architecture="recurrent_gemma",
    ),
    Kind("convolution", {"target_modules": ["conv_1d"], "r": 32}, architecture="recurrent_gemma"),
    Kind("aLoRA", {"alora_invocation_tokens": [7, 8]}),
    Kind("QA-LoRA", {"use_qalora": True, "qalora_group_size": 8}),
    Kind(
        "BD-LoRA",
        {
            "target_modules": ["q_proj", "o_proj"],
            "use_bdlora": peft.tuners.lora.config.BdLoraConfig(
                target_modules_bd_a=["o_proj"], target_modules_bd_b=["q_proj"], nblocks=2
            ),
        },
    ),
    Kind("KaSA", {"kasa_config": peft.tuners.lora.config.KasaConfig()}),
    Kind("MonteCLoRA", {"monteclora_config": peft.tuners.lora.config.MontecloraConfig()}),
    Kind("VeLoRA", {"velora_config": peft.tuners.lora.config.VeloraConfig(num_groups=4)}),
    Kind("Arrow", written={"arrow_config": {"top_k": 2}}),
    Kind("layer_replication", {"layer_replication": [(0, 3), (1, 4)]}),
    Kind("Megatron", written={"megatron_config": {"tensor_model_parallel_size": 1}}),
)
GROWN = {"save": {"save_embedding_layers": True}, "more_rows": 3}
FILES = (
    Kind("resized vocabulary", **GROWN),
    Kind("resized vocabulary, tied", model=TIED, **GROWN),
    Kind("resized vocabulary, LoRA on both sides", BOTH, **GROWN),
    Kind(
        "resized vocabulary, trained tokens",
        {"trainable_token_indices": [VOCABULARY, VOCABULARY + 1]},
        more_rows=3,
        save={"save_embedding_layers": True},
    ),
    Kind(
        "resized vocabulary, modules_to_save",
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        more_rows=3,
    ),
    Kind("another adapter name", {}, "saved as `style`", name="style"),
    Kind(".bin file", {}, "no safetensors", save={"safe_serialization": False}),
    Kind("bf16 tensors, fp32 base", tensors=torch.bfloat16),
    Kind("fp16 tensors, fp32 base", tensors=torch.float16),
    Kind("fp32 tensors, bf16 base", dtype=torch.bfloat16),
    Kind("fp32 tensors, fp64 base", dtype=torch.float64),
    Kind("DoRA, bf16 tensors", {"use_dora": True}, tensors=torch.bfloat16),
)
KINDS = (*TARGETS, *VALUES, *SIDES, *PARAMETERS, *STARTS, *VARIANTS, *FILES)
