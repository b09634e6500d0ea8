"""The page says of every kind of adapter what the package does with it, and leaves no kind out."""

from __future__ import annotations

import typing
from dataclasses import fields
from pathlib import Path

import peft
import pytest
from peft.tuners.lora import variants
from peft.tuners.lora.layer import LoraVariant
from support_kinds import KINDS, Kind
from support_page import line, lines

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

# one of each sort: what it selects, changes outside of the layers, overwrites, and how it is saved
ALWAYS = {
    *("full paths", "module that is never called", "bias: all", "embedding and head, tied"),
    *("trainable_token_indices", "init_lora_weights: pissa", "BD-LoRA", "resized vocabulary"),
}
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


def kinds() -> list[object]:
    assert {each.title for each in KINDS} >= ALWAYS
    return [
        pytest.param(each, id=each.title, marks=[] if each.title in ALWAYS else [pytest.mark.slow])
        for each in KINDS
    ]


@pytest.mark.parametrize("kind", kinds())
def test_the_row_of_a_kind(kind: Kind, tmp_path: Path) -> None:
    row = line(kind.title, kind.about, kind.cells(tmp_path))
    assert row == lines()[kind.title], "run python tests/support/write.py"


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
