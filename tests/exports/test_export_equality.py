"""Exports equal the cut, for every kind of adapter and at every boundary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from export_helpers import config, layer_in, load_peft, logits, run, switch, tensors
from model_helpers import logits as lm_logits
from model_helpers import make
from peft.tuners.lora import LoraLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from tiny_models import ARCHITECTURES, LAYERS, lora_config, randomise, tiny_model

from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.errors import AdapterError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(tied|save_embedding_layers|has no bias|invalid shape).*:UserWarning"
)

TARGETS: list[dict[str, Any]] = [
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": "all-linear"},
    {"target_modules": [f"model.layers.{i}.mlp.up_proj" for i in range(LAYERS)]},
    {"target_modules": ["0.self_attn.q_proj", "1.self_attn.k_proj", "3.self_attn.q_proj"]},
    {"target_modules": r".*\.layers\.\d+\.self_attn\.(q|o)_proj"},
    {"target_modules": r"model\.layers\.(0|1|3)\.mlp\..*_proj", "exclude_modules": r".*up_proj"},
    {"exclude_modules": ["down_proj", "model.layers.2.self_attn.q_proj"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [0, 2]},
    {"target_modules": ["q_proj"], "layers_to_transform": [0, 1, 3], "layers_pattern": "layers"},
    {"rank_pattern": {"q_proj": 2, r"layers\.[12]\.mlp\.up_proj": 3}},
    {"rank_pattern": {"layers.3.mlp.up_proj": 7}, "alpha_pattern": {"layers.0.mlp.up_proj": 3}},
    {"alpha_pattern": {"layers.0.self_attn.q_proj": 3, "v_proj": 5}, "use_rslora": True},
    {"use_rslora": True},
    {"use_dora": True},
    {"lora_bias": True, "target_modules": ["q_proj"]},  # biases of the LoRA layers themselves
    {"init_lora_weights": "gaussian"},
]
EVERY_BOUNDARY = (TARGETS[0], TARGETS[3], TARGETS[10])
SIDES: list[dict[str, Any]] = [
    {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
    {"target_modules": ["q_proj"], "modules_to_save": ["norm"]},
    {"target_modules": ["q_proj"], "modules_to_save": ["mlp"]},
    {"target_modules": ["q_proj"], "trainable_token_indices": [5, 6]},
    {"target_modules": ["q_proj"], "trainable_token_indices": {"lm_head": [7, 9]}},
]


def check(base: Path, adapter: Path, boundary: int, output: Path, whole: Any) -> None:
    """Export, and compare with the adapter in ways that the package does not use."""
    facts = run(base, adapter, boundary, output)
    assert facts["max_difference"] == 0.0
    source, written = tensors(adapter), tensors(output)
    assert written.keys() == {name for name in source if layer_in(name) <= boundary}
    for name, tensor in written.items():
        assert tensor.dtype == source[name].dtype
        assert torch.equal(tensor, source[name])
    model = load_peft(base, output)
    assert torch.equal(logits(model), logits(switch(whole, boundary)))
    kept = [name for name in adapted(whole) if layer_in(name) <= boundary]
    assert adapted(model) == kept


def adapted(model: Any) -> list[str]:
    """Return the paths of the modules that PEFT has wrapped."""
    kinds = (LoraLayer, AuxiliaryTrainingWrapper)
    return [name for name, module in model.named_modules() if isinstance(module, kinds)]


@pytest.mark.parametrize("settings", TARGETS, ids=str)
def test_every_way_to_name_targets(tiny: Any, tmp_path: Path, settings: dict[str, Any]) -> None:
    base, adapter = tiny(**settings)
    whole = load_peft(base, adapter)
    for boundary in range(LAYERS) if settings in EVERY_BOUNDARY else (1, LAYERS - 1):
        check(base, adapter, boundary, tmp_path / f"{boundary}", whole)
    low = config(tmp_path / "1")
    assert low["exclude_modules"] is None
    assert low["layers_to_transform"] is None
    assert isinstance(low["target_modules"], list)
    assert low["use_rslora"] == settings.get("use_rslora", False)


@pytest.mark.parametrize("settings", SIDES, ids=str)
def test_embeddings_and_head_are_kept_or_dropped_by_their_side(
    tiny: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    base, adapter = tiny(**settings)
    whole = load_peft(base, adapter)
    for boundary in (1, LAYERS - 1):
        check(base, adapter, boundary, tmp_path / f"{boundary}", whole)
    low = config(tmp_path / "1")
    for side in ("lm_head", "model.norm"):
        assert side not in (low["modules_to_save"] or [])
        assert side not in (low["trainable_token_indices"] or {})
        assert side not in low["target_modules"]


@pytest.mark.parametrize(
    ("architecture", "tied"),
    [(name, False) for name in ARCHITECTURES] + [("llama", True), ("gpt2", True), ("opt", True)],
)
def test_every_architecture(tiny: Any, tmp_path: Path, architecture: str, tied: bool) -> None:
    base, adapter = tiny(architecture, tied=tied)
    for boundary in (1, LAYERS - 1):
        output = tmp_path / f"{boundary}"
        facts = run(base, adapter, boundary, output)
        found = logits(load_peft(base, output))
        assert torch.equal(found, lm_logits(make(base, adapter, boundary=boundary)))
        source, written = tensors(adapter), tensors(output)
        assert facts["tensors"] == len(written)
        assert (len(written) < len(source)) == (boundary < LAYERS - 1)
        assert all(torch.equal(tensor, source[name]) for name, tensor in written.items())


@pytest.mark.parametrize(
    "settings", [{}, {"alpha_pattern": {"q_proj": 3}}, SIDES[1], SIDES[4]], ids=str
)
def test_an_evaluation_of_the_export_equals_one_of_the_cut(
    tiny: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    base, adapter = tiny(**settings)
    run(base, adapter, 2, tmp_path / "out")
    exported, cut = make(base, tmp_path / "out"), make(base, adapter, boundary=2)
    assert torch.equal(lm_logits(exported), lm_logits(cut))
    ours, theirs = exported.get_model_info(), cut.get_model_info()
    assert ours["kept_parameters"] == theirs["kept_parameters"]
    assert ours["dropped_parameters"] == 0 < theirs["dropped_parameters"]


def test_an_export_is_smaller_by_the_dropped_share(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    whole = (adapter / "adapter_model.safetensors").stat().st_size
    for boundary in range(LAYERS):
        facts = run(base, adapter, boundary, tmp_path / f"{boundary}")
        share = (boundary + 1) / LAYERS
        assert facts["bytes"] == share * facts["source_bytes"]
        assert facts["kept_parameters"] / (
            facts["kept_parameters"] + facts["dropped_parameters"]
        ) == pytest.approx(share)
        written = (tmp_path / f"{boundary}" / "adapter_model.safetensors").stat().st_size
        assert written == pytest.approx(share * whole, rel=0.02)


def test_the_whole_adapter_is_copied_with_its_own_selectors(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny(target_modules=["q_proj"], layers_to_transform=[0, 2])
    facts = run(base, adapter, LAYERS - 1, tmp_path / "out")
    assert facts["exported_sha256"] == facts["adapter_sha256"] == open_adapter(adapter).sha256
    ours, theirs = config(tmp_path / "out"), config(adapter)
    assert theirs.pop("base_model_name_or_path") is None
    assert ours.pop("base_model_name_or_path") == str(base)
    assert ours == theirs


def test_an_export_can_be_cut_again(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny(rank_pattern={"q_proj": 2})
    run(base, adapter, 2, tmp_path / "first")
    run(base, tmp_path / "first", 1, tmp_path / "second")
    run(base, adapter, 1, tmp_path / "direct")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        again, direct = (tmp_path / folder / name for folder in ("second", "direct"))
        assert again.read_bytes() == direct.read_bytes()


def test_repeated_exports_are_identical_to_the_byte(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    for name in ("a", "b"):
        run(base, adapter, 1, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tensors_keep_their_type(tiny: Any, tmp_path: Path, dtype: torch.dtype) -> None:
    base, _ = tiny()
    model = randomise(peft.get_peft_model(tiny_model(), lora_config()))
    model.to(dtype).save_pretrained(tmp_path / "adapter")
    facts = run(base, tmp_path / "adapter", 1, tmp_path / "out", dtype="bfloat16")
    assert facts["dtype"] == "bfloat16"
    assert {tensor.dtype for tensor in tensors(tmp_path / "out").values()} == {dtype}


def test_pickled_adapters_become_safetensors(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    model = load_peft(base, adapter)
    model.save_pretrained(tmp_path / "adapter", safe_serialization=False)
    assert not (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    facts = run(base, tmp_path / "adapter", 1, tmp_path / "out")
    run(base, adapter, 1, tmp_path / "direct")
    assert facts["exported_sha256"] == open_adapter(tmp_path / "direct").sha256


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_trained_biases_are_kept_or_dropped_by_their_layer(
    tiny: Any, tmp_path: Path, bias: str
) -> None:
    base, _ = tiny("gpt2")
    trained = randomise(peft.get_peft_model(tiny_model("gpt2"), lora_config("gpt2", bias=bias)))
    for name, parameter in trained.named_parameters():
        if name.endswith("bias"):
            parameter.data += 0.5
    trained.save_pretrained(tmp_path / "adapter")
    for boundary in (0, 2, LAYERS - 1):
        output = tmp_path / f"{boundary}"
        run(base, tmp_path / "adapter", boundary, output)
        expected = lm_logits(make(base, tmp_path / "adapter", boundary=boundary))
        assert torch.equal(logits(load_peft(base, output)), expected)
        assert torch.equal(lm_logits(make(base, output)), expected)
        names = {name for name in tensors(output) if name.endswith("bias")}
        assert names
        assert all(layer_in(name) <= boundary for name in names)


def test_a_loaded_model_is_left_as_it_is(tiny: Any, tmp_path: Path) -> None:
    from lm_eval_lora_boundary.exports.api import export

    base, adapter = tiny()
    model = tiny_model()
    before = logits(model)
    facts = export(model, adapter, 1, tmp_path / "out")
    assert torch.equal(logits(model), before)
    assert not hasattr(model, "peft_config")
    run(base, adapter, 1, tmp_path / "by_name")
    assert facts["exported_sha256"] == open_adapter(tmp_path / "by_name").sha256
    merged = export(model, adapter, 1, tmp_path / "merged", merge=True)
    assert merged["max_difference"] == 0.0
    assert torch.equal(logits(model), before)


def test_grown_vocabularies_are_exported_whole_or_refused(tiny: Any, tmp_path: Path) -> None:
    base, _ = tiny()
    model = tiny_model()
    rows = model.config.vocab_size + 3
    model.resize_token_embeddings(rows, mean_resizing=False)
    trained = randomise(peft.get_peft_model(model, lora_config()))
    trained.get_input_embeddings().weight.data += 0.1
    trained.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    facts = run(base, tmp_path / "adapter", LAYERS - 1, tmp_path / "out")
    assert facts["grown_rows"] == rows
    assert f"resize_token_embeddings({rows})" in (tmp_path / "out" / "README.md").read_text()
    expected = lm_logits(make(base, tmp_path / "adapter"))
    assert torch.equal(lm_logits(make(base, tmp_path / "out")), expected)
    for merge in (False, True):
        with pytest.raises(AdapterError, match=f"trained with {rows} tokens.*boundary=3"):
            run(base, tmp_path / "adapter", 1, tmp_path / "no", merge=merge)
    assert not (tmp_path / "no").exists()
