"""What an adapter folder's hash covers, and folders that are nearly right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lm_eval_lora_boundary.cuts.adapter_folder import _NOT_DECIDING, AdapterFolder, open_adapter
from lm_eval_lora_boundary.cuts.loading import check_fits
from lm_eval_lora_boundary.errors import AdapterError

Tiny = Callable[..., tuple[Path, Path]]


def test_every_option_is_in_the_hash_or_known_not_to_matter() -> None:
    """A later PEFT with further options does not go unnoticed: they are in the hash."""
    names = {each.name for each in fields(LoraConfig)}
    assert names >= _NOT_DECIDING
    usual = AdapterFolder(Path(), LoraConfig(), {}, "")
    for name in sorted(names):
        config = LoraConfig()
        object.__setattr__(config, name, "something else")
        changed = replace(usual, config=config).config_sha256 != usual.config_sha256
        assert changed == (name not in _NOT_DECIDING), name


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("target_modules", {"q_proj", "v_proj"}, {"v_proj", "q_proj"}),
        ("rank_pattern", {"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ("layers_to_transform", [1, 2], (1, 2)),
    ],
)
def test_the_order_of_a_set_is_not_in_the_hash(name: str, one: Any, other: Any) -> None:
    hashes = set()
    for value in (one, other):
        config = LoraConfig()
        object.__setattr__(config, name, value)
        hashes.add(AdapterFolder(Path(), config, {}, "").config_sha256)
    assert len(hashes) == 1


def test_an_adapter_one_level_down_is_named(tiny: Tiny, tmp_path: Path) -> None:
    _, adapter = tiny()
    for name in ("checkpoint-100", "checkpoint-200"):
        shutil.copytree(adapter, tmp_path / name)
    with pytest.raises(AdapterError, match=r"below it do: checkpoint-100, checkpoint-200; .*-200$"):
        open_adapter(tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(AdapterError, match="so it is not a PEFT adapter"):
        open_adapter(tmp_path / "other")


def test_a_wrappers_prefix_is_named(tiny: Tiny, tmp_path: Path) -> None:
    base, adapter = tiny()
    copied = Path(shutil.copytree(adapter, tmp_path / "wrapped"))
    weights = copied / "adapter_model.safetensors"
    tensors = {
        name.replace("base_model.model.", "base_model.model.module."): tensor
        for name, tensor in load_file(weights).items()
    }
    save_file(tensors, weights)
    model = AutoModelForCausalLM.from_pretrained(base)
    with pytest.raises(
        AdapterError, match=r"begin with base_model\.model\.module\., and .* same modules"
    ):
        check_fits(model, open_adapter(copied))
    # what is in no module at all is still another base's
    foreign = {name.replace("layers", "blocks"): tensor for name, tensor in tensors.items()}
    save_file(foreign, weights)
    with pytest.raises(AdapterError, match="was made for another base"):
        check_fits(model, open_adapter(copied))
    assert json.loads((copied / "adapter_config.json").read_text())["peft_type"] == "LORA"
