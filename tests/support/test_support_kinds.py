"""The page leaves out nothing that PEFT knows: settings, variants, starts and kinds."""

from __future__ import annotations

import typing
from dataclasses import fields

import peft
from peft.tuners.lora import variants
from peft.tuners.lora.layer import LoraVariant
from support_kinds import KINDS
from support_others import OTHERS

from lm_eval_lora_boundary.cuts import kinds

# Settings that name the adapter, or steer training or loading: they change no number of a cut.
NO_KIND = {
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path"),
    *("revision", "inference_mode", "runtime_config", "megatron_core"),
    *("r", "lora_alpha", "fan_in_fan_out"),  # set in every row
    "eva_config",  # only what EVA draws its start from
}
# the row in which PEFT uses a variant of LoRA; where there is none, why
VARIANTS = {
    "ALoraLinearVariant": "aLoRA",
    "ArrowLinearVariant": "Arrow",
    "BdLoraLinearVariant": "BD-LoRA",
    "DoraConv1dVariant": "DoRA, convolution",
    "DoraConv2dVariant": None,  # decoders have no such convolutions
    "DoraConv3dVariant": None,
    "DoraEmbeddingVariant": "DoRA, embedding",
    "DoraLinearVariant": "DoRA",
    "KasaLinearVariant": "KaSA",
    "MiCAEmbeddingVariant": "MiCA, embedding",
    "MiCALinearVariant": "init_lora_weights: mica",
    "MontecloraLinearVariant": "MonteCLoRA",
    "QALoraLinearVariant": None,  # in layers of GPTQ only; in others, PEFT ignores the setting
    "VeloraLinearVariant": "VeLoRA",
    "_DoraConvNdVariant": None,  # what the three have in common
}


def subclasses(kind: type) -> set[type]:
    found = set(kind.__subclasses__())
    return found.union(*map(subclasses, found))


def test_every_variant_of_lora_has_a_row() -> None:
    found = {
        each.__name__ for each in subclasses(LoraVariant) if each.__module__ == variants.__name__
    }
    assert found == VARIANTS.keys()
    assert {title for title in VARIANTS.values() if title} <= {each.title for each in KINDS}


def test_every_setting_has_a_row() -> None:
    used = {name for each in KINDS for name in each.config | each.written} | {"target_modules"}
    assert used | NO_KIND == {each.name for each in fields(peft.LoraConfig)}
    assert not (used & NO_KIND) - {"r"}


def test_every_start_has_a_row() -> None:
    hint = typing.get_type_hints(peft.LoraConfig)["init_lora_weights"]
    named = {
        value
        for part in typing.get_args(hint)
        for value in (typing.get_args(part) or (True, False))
    }
    used = {
        each.config["init_lora_weights"] for each in KINDS if "init_lora_weights" in each.config
    }
    told = {"pissa_niter_[number of iters]": "pissa_niter_4"}
    # PEFT knows one more than it declares
    assert {told.get(value, value) for value in named} | {"lora_ga"} == used


def test_every_kind_has_a_row() -> None:
    cut = {name for name, kind in kinds.KINDS.items() if not kind.refusal}
    assert {each.peft_type for each in OTHERS} | {"LORA"} == cut
