"""Random models, adapters and cuts, for hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from peft.tuners.lora import LoraLayer
from tiny_models import VOCABULARY, randomise, tiny_model, tiny_tokenizer

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.keep import Cut

# the linear modules of a layer
LINEAR: dict[str, Sequence[str]] = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "qwen3": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "gemma2": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "phi": ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
    "gpt2": ("c_attn", "c_proj", "c_fc"),
    "gpt_neox": ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
}
Property = Callable[..., None]
STRENGTHS = (0.0, 1.0, 0.5, -1.0, 0.3)


@dataclass(frozen=True)
class Case:
    """A model and an adapter, which can be built again and again, and a cut of it.

    Attributes:
        architecture: As transformers calls it.
        shape: Settings of the model.
        lora: Settings of the adapter.
        cut: A strength per layer.
        seed: Of the tokens and the adapter's values.
    """

    architecture: str
    shape: dict[str, Any]
    lora: dict[str, Any]
    cut: tuple[float, ...]
    seed: int

    @property
    def layers(self) -> int:
        return len(self.cut)

    def base(self) -> Any:
        return tiny_model(self.architecture, **self.shape)

    def model(self) -> Any:
        """Return the base model with the whole adapter."""
        config = peft.LoraConfig(**self.lora, task_type="CAUSAL_LM")
        return randomise(peft.get_peft_model(self.base(), config), seed=self.seed).eval()

    def keeps_modules(self, strengths: tuple[float, ...]) -> bool:
        """Return whether a cut keeps any module."""
        return bool(LoraCut(self.model()).kept(Cut(strengths)))

    def tokens(self, texts: int = 2, length: int = 7) -> torch.Tensor:
        """Return token ids, shape (texts, length)."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randint(4, self.shape["vocab_size"], (texts, length), generator=generator)

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write base and adapter; return their folders."""
        self.base().save_pretrained(folder / "base")
        tiny_tokenizer().save_pretrained(folder / "base")
        self.model().save_pretrained(folder / "adapter")
        return folder / "base", folder / "adapter"


@st.composite
def cases(draw: st.DrawFn, *, strengths: Sequence[float] = STRENGTHS, plain: bool = False) -> Case:
    """Draw a model, an adapter and a cut; ``plain`` leaves out what cannot share a pass."""
    architecture = draw(st.sampled_from(sorted(LINEAR)))
    layers = draw(st.integers(1, 5))
    key_value_heads = draw(st.sampled_from([1, 2]))
    heads = key_value_heads * draw(st.sampled_from([1, 2]))
    shape = {
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "hidden_size": heads * draw(st.sampled_from([4, 8, 16])),
        "intermediate_size": draw(st.integers(1, 12)) * 4,
        "vocab_size": draw(st.integers(VOCABULARY, 90)),
        "tie_word_embeddings": draw(st.booleans()),
    }
    names = LINEAR[architecture]
    some = st.lists(st.sampled_from(names), min_size=1, unique=True)
    number = st.integers(0, layers - 1)
    targets = draw(some)
    lora: dict[str, Any] = {
        "r": draw(st.integers(1, 6)),
        "lora_alpha": draw(st.sampled_from([1, 4, 7.5, 16])),
        "use_rslora": draw(st.booleans()),
        "fan_in_fan_out": architecture == "gpt2",
        "target_modules": targets,
    }
    if draw(st.booleans()):
        lora["rank_pattern"] = {draw(st.sampled_from(targets)): draw(st.integers(1, 5))}
    if draw(st.booleans()):
        pattern = rf"\.{draw(number)}\..*{draw(st.sampled_from(targets))}"
        lora["alpha_pattern"] = {pattern: draw(st.integers(1, 9))}
    how = draw(st.sampled_from(["names", "layers", "regex", "all-linear"]))
    if how == "layers":
        lora["layers_to_transform"] = sorted(draw(st.sets(number, min_size=1)))
    elif how == "regex":
        chosen = "|".join(map(str, sorted(draw(st.sets(number, min_size=1)))))
        lora["target_modules"] = rf".*\.({chosen})\..*({'|'.join(targets)})"
    elif how == "all-linear":
        lora["target_modules"] = "all-linear"
    if not plain:
        lora["use_dora"] = draw(st.booleans()) and set(strengths) <= {0.0, 1.0}
    cut = draw(st.tuples(*[st.sampled_from(strengths)] * layers))
    return Case(architecture, shape, lora, cut, draw(st.integers(0, 10**6)))


# a case, and more cuts of its model
Several = tuple[Case, list[tuple[float, ...]]]
kept_or_dropped = partial(cases, strengths=(0.0, 1.0))


def by_hand(case: Case, strengths: Sequence[float] | None = None) -> Any:
    """Cut in another way: PEFT's own switch and scale in every layer, found by its name."""
    model = case.model()
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        layer = next(int(part) for part in name.split(".") if part.isdigit())
        strength = (strengths or case.cut)[layer]
        if strength == 0:
            module.enable_adapters(False)
        elif strength != 1:
            module.scale_layer(strength)
    return model


@torch.no_grad()
def logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return logits, shape (batch, seq, vocab)."""
    return model(input_ids=tokens).logits


def as_keep(case: Case) -> Cut:
    return Cut(case.cut)


def with_cuts(case: Case, strengths: tuple[float, ...], *, most: int) -> st.SearchStrategy[Several]:
    """Draw some more cuts of the same model."""
    cut = st.tuples(*[st.sampled_from(strengths)] * case.layers)
    return st.lists(cut, min_size=1, max_size=most).map(lambda cuts: (case, cuts))


MIXED = cases().flatmap(lambda case: with_cuts(case, (0.0, 1.0), most=3))
SHARED = cases(plain=True).flatmap(lambda case: with_cuts(case, (0.0, 1.0, 0.5), most=4))
TWICE = kept_or_dropped().flatmap(lambda case: with_cuts(case, (0.0, 1.0), most=1))


def few(*drawn: Any, examples: int = 12) -> Callable[[Property], Property]:
    """Try a property on a few cases, the same in every run."""
    chosen = settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
    )
    return lambda check: chosen(given(*drawn)(check))


def many(*drawn: Any, examples: int = 300) -> Callable[[Property], Property]:
    """Try a property on many new cases, in the long tests."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    chosen = settings(
        max_examples=examples, derandomize=False, deadline=None, suppress_health_check=slow
    )
    return lambda check: pytest.mark.slow(chosen(given(*drawn)(check)))
