"""Facts about lm-eval and PEFT that the model must cope with, at least one test each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
from lm_eval.models.huggingface import HFLM
from model_helpers import TOKENS, logits, make
from tiny_models import (
    LAYERS,
    VOCABULARY,
    disable_above,
    lora_config,
    randomise,
    tiny_model,
)

from lm_eval_lora_boundary.cuts.loading import LOADING_SEED
from lm_eval_lora_boundary.errors import AdapterError


@pytest.fixture(scope="module")
def llama(tiny: Any) -> tuple[Path, Path]:
    return tiny()


@pytest.mark.parametrize(
    "config",
    [
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"trainable_token_indices": [5, 6]},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*tied.*:UserWarning")
def test_fact_1_weights_are_not_tied_again_after_wrapping(tiny: Any, config: Any) -> None:
    base, adapter = tiny("llama", tied=True, target_modules=["q_proj"], **config)
    by_hand = peft.PeftModel.from_pretrained(tiny_model(tied=True), adapter).eval()
    with torch.no_grad():
        expected = by_hand(TOKENS).logits
    assert torch.equal(logits(make(base, adapter)), expected)
    assert torch.equal(logits(make(base, adapter, boundary=-1)), logits(make(base)))


def test_fact_2_padded_vocabularies_are_not_shrunk(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    padded = tmp_path / "padded"
    shutil.copytree(base, padded)
    tiny_model(vocab_size=VOCABULARY + 16).save_pretrained(padded)
    lm = make(padded, adapter, boundary=1)
    assert lm.model.get_input_embeddings().weight.shape[0] == VOCABULARY + 16
    assert logits(lm).shape[-1] == VOCABULARY + 16


@pytest.mark.parametrize("init", ["pissa", "olora", "pissa_niter_4"])
def test_fact_3_base_weights_are_restored_above_the_boundary(
    tiny: Any, tmp_path: Path, init: str
) -> None:
    base, _ = tiny()
    config = lora_config(target_modules=["q_proj"], init_lora_weights=init)
    trained = peft.get_peft_model(tiny_model(), config)
    randomise(trained, scale=0.01).save_pretrained(tmp_path)
    assert torch.equal(logits(make(base, tmp_path, boundary=-1)), logits(make(base)))
    original = dict(tiny_model().named_parameters())
    cut = make(base, tmp_path, boundary=1)
    for name, parameter in cut.model.get_base_model().named_parameters():
        if "lora_" not in name:
            layer = int(name.split(".")[2]) if ".layers." in name else -1
            same = torch.equal(parameter, original[name.replace(".base_layer", "")])
            assert same == (layer > 1 or "q_proj" not in name), name
    whole = logits(make(base, tmp_path))
    assert torch.equal(whole, logits(make(base, tmp_path)))
    torch.manual_seed(LOADING_SEED)  # pissa_niter draws random vectors
    assert torch.equal(whole, logits(make(base, tmp_path, HFLM)))


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_fact_4_biases_are_restored_above_the_boundary(
    tiny: Any, tmp_path: Path, bias: str
) -> None:
    base, _ = tiny("gpt2")
    trained = randomise(peft.get_peft_model(tiny_model("gpt2"), lora_config("gpt2", bias=bias)))
    for name, parameter in trained.named_parameters():
        if name.endswith("bias"):
            parameter.data += 0.5
    trained.save_pretrained(tmp_path)
    saved = safetensors.torch.load_file(tmp_path / "adapter_model.safetensors")
    biases = {
        name.removeprefix("base_model.model.").replace(".base_layer", "")
        for name in saved
        if name.endswith("bias")
    }
    assert biases
    assert torch.equal(logits(make(base, tmp_path, boundary=-1)), logits(make(base)))
    original = dict(tiny_model("gpt2").named_parameters())
    cut = make(base, tmp_path, boundary=1)
    for name, parameter in cut.model.get_base_model().named_parameters():
        if name.endswith("bias"):
            plain = name.replace(".base_layer", "")
            layer = int(name.split(".")[2]) if ".h." in name else LAYERS - 1
            changed = plain in biases and layer <= 1
            assert torch.equal(parameter, original[plain]) != changed, name
    assert torch.equal(logits(make(base, tmp_path)), logits(make(base, tmp_path, HFLM)))


def test_fact_5_modules_to_save_follow_the_same_rule(tiny: Any) -> None:
    base, adapter = tiny(target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens"])
    bare = make(base)
    cut = make(base, adapter, boundary=LAYERS - 2)
    assert torch.equal(
        cut.model.get_output_embeddings().weight, bare.model.get_output_embeddings().weight
    )
    assert not torch.equal(
        cut.model.get_input_embeddings().weight, bare.model.get_input_embeddings().weight
    )
    assert cut.get_model_info()["dropped_modules"] == 2  # q_proj of the last layer, lm_head


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj"]},
        {"target_modules": [f"model.layers.{i}.mlp.up_proj" for i in range(LAYERS)]},
        {"target_modules": r".*\.layers\.\d+\.self_attn\.(q|o)_proj"},
        {"target_modules": ["q_proj"], "layers_to_transform": [0, 2]},
        {"exclude_modules": ["down_proj"]},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.0.self_attn.q_proj": 3}},
        {"use_rslora": True},
        {"use_dora": True},
    ],
    ids=str,
)
def test_fact_6_every_way_to_name_targets(tiny: Any, config: Any) -> None:
    base, adapter = tiny(**config)
    by_hand = peft.PeftModel.from_pretrained(tiny_model(), adapter).eval()
    disable_above(by_hand, 1)
    with torch.no_grad():
        expected = by_hand(TOKENS).logits
    assert torch.equal(logits(make(base, adapter, boundary=1)), expected)


def test_fact_6_tensors_filtered_by_hand_are_refused(
    llama: tuple[Path, Path], tmp_path: Path
) -> None:
    base, adapter = llama
    shutil.copytree(adapter, tmp_path, dirs_exist_ok=True)
    tensors = safetensors.torch.load_file(adapter / "adapter_model.safetensors")
    low = {name: t for name, t in tensors.items() if ".layers.3." not in name}
    safetensors.torch.save_file(low, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="write config and tensors together"):
        make(base, tmp_path, boundary=1)


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")
def test_fact_7_adapters_of_single_experts(tiny: Any, tmp_path: Path) -> None:
    """Adapters from before experts were fused name experts as ``layers.3.…experts.1.w1``."""
    base, _ = tiny("mixtral")
    model = tiny_model("mixtral")
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for layer in range(LAYERS):
        for expert in range(2):
            for name, (rows, columns) in {"w1": (48, 32), "w2": (32, 48), "w3": (48, 32)}.items():
                path = f"base_model.model.model.layers.{layer}.block_sparse_moe.experts.{expert}"
                shapes = {"lora_A": (4, columns), "lora_B": (rows, 4)}
                for part, shape in shapes.items():
                    tensor = torch.randn(shape, generator=generator) * 0.3
                    tensors[f"{path}.{name}.{part}.weight"] = tensor
    config = lora_config(target_modules=["w1", "w2", "w3"])
    config.save_pretrained(tmp_path)
    safetensors.torch.save_file(tensors, tmp_path / "adapter_model.safetensors")
    lm = make(base, tmp_path, boundary=0)
    assert lm.get_model_info()["kept_modules"] == 1  # the experts of layer 0
    by_hand = peft.PeftModel.from_pretrained(model, tmp_path).eval()
    whole = by_hand(TOKENS).logits
    assert torch.equal(logits(make(base, tmp_path)), whole)
    disable_above(by_hand, 0)
    with torch.no_grad():
        expected = by_hand(TOKENS).logits
    assert torch.equal(logits(lm), expected)
    assert not torch.equal(expected, whole)


def test_fact_11_merge_mode_is_recorded(llama: tuple[Path, Path]) -> None:
    base, adapter = llama
    modes = [make(base, adapter, merge=m, dtype="bfloat16").signature for m in (False, True)]
    assert "bfloat16 | merge=False" in modes[0]
    assert "bfloat16 | merge=True" in modes[1]
