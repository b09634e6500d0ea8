"""Adapters that cannot be used: one clear line with the remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
from tiny_models import LAYERS, lora_config, randomise, tiny_model

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.errors import AdapterError


def remove_config(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def break_config(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{")


def remove_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


def truncate(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def truncate_bin(folder: Path) -> None:
    tensors = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    remove_weights(folder)
    torch.save(tensors, folder / "adapter_model.bin")
    weights = folder / "adapter_model.bin"
    weights.write_bytes(weights.read_bytes()[:1000])


def empty_tensors(folder: Path) -> None:
    safetensors.torch.save_file({}, folder / "adapter_model.safetensors")


def other_peft_type(peft_type: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": peft_type}))

    return change


def other_model(**overrides: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        base = tiny_model(**overrides)
        randomise(peft.get_peft_model(base, lora_config())).save_pretrained(folder)

    return change


@pytest.mark.filterwarnings("ignore:Unexpected keyword arguments:UserWarning")  # of other kinds
@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove_config, r"without adapter_config\.json"),
        (break_config, r"adapter_config\.json cannot be read"),
        (remove_weights, r"no weights; expected adapter_model\.safetensors or adapter_model\.bin"),
        (truncate, r"cannot be read .*truncated or damaged"),
        (truncate_bin, r"cannot be read .*truncated or damaged"),
        (empty_tensors, r"holds no tensors"),
        (
            other_peft_type("PROMPT_TUNING"),
            r"peft_type=PROMPT_TUNING; a boundary needs an adapter with a part in every layer",
        ),
        (other_peft_type("IA3"), r"holds tensors of LoRA \(such as .*config says IA³"),
        (other_peft_type("NEWER"), r"peft_type=NEWER, unknown to PEFT"),
        (other_model(num_hidden_layers=6), r"made for another base: it has LoRA in layer 4.*at 3"),
        (other_model(hidden_size=64), r"made for another base: its LoRA for .* is \d+×\d+"),
        (other_model(architecture="gpt_neox"), r"made for another base: none of its \d+ modules"),
    ],
    ids=lambda value: getattr(value, "__name__", "")[:40],
)
def test_adapter_folder(
    model: dict[str, Any], tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(model["peft"], folder)
    change(folder)
    with pytest.raises(AdapterError, match=message.replace("at 3", f"layer {LAYERS - 1}")):
        LoraBoundaryLM(boundary=1, **(model | {"peft": str(folder)}))


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no/such-adapter", "neither a local folder nor"),
        ("not there", "neither a local folder nor"),
        ("./missing/folder", "does not exist; expected an adapter folder, or a hub id"),
    ],
)
def test_missing_adapter(model: dict[str, Any], name: str, reason: str) -> None:
    with pytest.raises(AdapterError, match=reason):
        LoraBoundaryLM(boundary=1, **(model | {"peft": name}))


def test_adapter_given_as_a_file(model: dict[str, Any]) -> None:
    file = f"{model['peft']}/adapter_config.json"
    with pytest.raises(AdapterError, match="is a file; give the folder"):
        LoraBoundaryLM(boundary=1, **(model | {"peft": file}))


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("boundary", [None, 2])
def test_empty_adapter_name(model: dict[str, Any], boundary: int | None) -> None:
    """As with ``peft=$ADAPTER`` if the variable is unset."""
    with pytest.raises(AdapterError, match="peft= is empty"):
        LoraBoundaryLM(boundary=boundary, **(model | {"peft": ""}))


@pytest.mark.usefixtures("no_weights")
def test_names_of_digits(model: dict[str, Any]) -> None:
    with pytest.raises(AdapterError, match="peft=123 is neither"):
        LoraBoundaryLM(peft_revision=1234567, **(model | {"peft": 123}))


def test_unused_saved_modules(model: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(model["peft"], tmp_path, dirs_exist_ok=True)
    tensors = safetensors.torch.load_file(tmp_path / "adapter_model.safetensors")
    tensors["base_model.model.model.nrom.weight"] = torch.ones(32)
    safetensors.torch.save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match=r"match nothing .*model\.nrom\.weight"):
        LoraBoundaryLM(boundary=1, **(model | {"peft": str(tmp_path)}))


def test_errors_of_peft_become_one_line(model: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(model["peft"], tmp_path, dirs_exist_ok=True)
    lora_config(r=8).save_pretrained(tmp_path)
    with pytest.raises(
        AdapterError, match=r"does not fit: .* is 4×32, and 8×32 was expected"
    ) as error:
        LoraBoundaryLM(boundary=1, **(model | {"peft": str(tmp_path)}))
    assert "\n" not in str(error.value)


def test_untrained_adapter_has_no_effect(model: dict[str, Any], tmp_path: Path) -> None:
    peft.get_peft_model(tiny_model(), lora_config()).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=r"no effect: all 14 kept modules add zero"):
        LoraBoundaryLM(boundary=1, **(model | {"peft": str(tmp_path)}))
    LoraBoundaryLM(boundary=-1, **(model | {"peft": str(tmp_path)}))  # this is the base model


@pytest.mark.parametrize(
    "config",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"trainable_token_indices": [5]},
        {"target_modules": ["q_proj", "lm_head"]},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*save_embedding_layers.*:UserWarning")
def test_untrained_adapters_of_other_kinds(
    model: dict[str, Any], tmp_path: Path, config: dict[str, Any]
) -> None:
    peft.get_peft_model(tiny_model(), lora_config(**config)).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match="no effect"):
        LoraBoundaryLM(**(model | {"peft": str(tmp_path)}))


def test_boundary_below_the_adapter(model: dict[str, Any], tmp_path: Path) -> None:
    config = lora_config(target_modules=["q_proj"], layers_to_transform=[2, 3])
    randomise(peft.get_peft_model(tiny_model(), config)).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=r"keeps no module: the adapter starts at layer 2"):
        LoraBoundaryLM(boundary=1, **(model | {"peft": str(tmp_path)}))
    LoraBoundaryLM(boundary=2, **(model | {"peft": str(tmp_path)}))


def test_smaller_vocabulary(model: dict[str, Any], tmp_path: Path) -> None:
    base = tiny_model(vocab_size=48)
    config = lora_config(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    randomise(peft.get_peft_model(base, config)).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=r"embeddings have 48 rows, this base model has 64"):
        LoraBoundaryLM(boundary=1, **(model | {"peft": str(tmp_path)}))


def test_unused_lora_tensors(model: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(model["peft"], tmp_path, dirs_exist_ok=True)
    lora_config(target_modules=["q_proj"]).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=r"48 of 56 LoRA tensors match no module"):
        LoraBoundaryLM(boundary=1, **(model | {"peft": str(tmp_path)}))


def test_layer_replication(model: dict[str, Any], tmp_path: Path) -> None:
    config = lora_config(layer_replication=[(0, 4), (2, 4)])
    randomise(peft.get_peft_model(tiny_model(), config)).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match="layer_replication repeats layers"):
        LoraBoundaryLM(boundary=1, **(model | {"peft": str(tmp_path)}))
