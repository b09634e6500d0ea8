"""Exports of adapters that are not LoRA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from adapter_kinds import SETTINGS, layer_of, save_kind
from export_helpers import config, load_peft, logits, run, tensors
from peft.tuners.tuners_utils import BaseTunerLayer
from tiny_models import LAYERS, lora_config, randomise, tiny_model

from lm_eval_lora_boundary.errors import AdapterError, LoraBoundaryError, OutputError

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning",  # PEFT's, about the tiny bases
    "ignore:The following rank_pattern keys:RuntimeWarning",  # PEFT's, about its own AdaLoRA
)

Tiny = Callable[..., tuple[Path, Path]]
# They derive what is not in the file from the number or the order of all modules.
INEXPRESSIBLE = ("FROD", "UNILORA")
SHARED = {"VERA": ["vera_A", "vera_B"], "VBLORA": ["vblora_vector_bank"]}
OFTEN = ("ADALORA", "IA3", "LOHA", "OFT", "VERA")


def check(base: Path, adapter: Path, output: Path) -> None:
    facts = run(base, adapter, 1, output)
    assert facts["max_difference"] == 0.0
    source, written = tensors(adapter), tensors(output)
    for name, tensor in written.items():
        assert torch.equal(tensor, source[name])
    numbered = {name for name in source if ".layers." in name}
    assert {n for n in written if ".layers." in n} == {n for n in numbered if layer_of(n) <= 1}
    model, whole = load_peft(base, output), load_peft(base, adapter)
    for name, module in whole.named_modules():
        if isinstance(module, BaseTunerLayer):
            module.enable_adapters(layer_of(name) <= 1)
    assert torch.equal(logits(model), logits(whole))


@pytest.mark.parametrize(
    "name",
    [each if each in OFTEN else pytest.param(each, marks=pytest.mark.slow) for each in SETTINGS],
)
def test_an_export_equals_the_cut_or_is_refused(name: str, tiny: Tiny, tmp_path: Path) -> None:
    base, _ = tiny()
    adapter = save_kind(tmp_path / "adapter", name)
    if name in INEXPRESSIBLE:
        with pytest.raises(OutputError, match="PEFT cannot express this cut; merge it"):
            run(base, adapter, 1, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return
    check(base, adapter, tmp_path / "out")
    for shared in SHARED.get(name, []):
        assert f"base_model.{shared}" in tensors(tmp_path / "out")


def test_a_later_layer_alone(tiny: Tiny, tmp_path: Path) -> None:
    base, _ = tiny()
    adapter = save_kind(tmp_path / "adapter", "IA3")
    run(base, adapter, None, tmp_path / "out", keep="2")
    written = config(tmp_path / "out")
    assert written["feedforward_modules"] == ["model.layers.2.mlp.down_proj"]
    assert len(written["target_modules"]) == 3


def test_adalora_with_ranks_that_training_has_chosen(tiny: Tiny, tmp_path: Path) -> None:
    """Its pattern names the tensors of all layers, and PEFT looks for each of them."""
    base, _ = tiny()
    model = peft.PeftModel.from_pretrained(
        tiny_model(), save_kind(tmp_path / "all", "ADALORA"), is_trainable=True
    )
    names = [n for n, m in model.get_base_model().named_modules() if hasattr(m, "lora_E")]
    pattern = {f"{n}.lora_E": [True, i % 2 == 0, True, False] for i, n in enumerate(names)}
    model.peft_config["default"].rank_pattern = pattern
    model.save_pretrained(tmp_path / "adapter")
    check(base, tmp_path / "adapter", tmp_path / "out")
    assert set(config(tmp_path / "out")["rank_pattern"]) == {n for n in pattern if layer_of(n) <= 1}


def test_strengths_are_written_where_peft_has_an_alpha(tiny: Tiny, tmp_path: Path) -> None:
    base, _ = tiny()
    adapter = save_kind(tmp_path / "loha", "LOHA", alpha_pattern={"q_proj": 3})
    run(base, adapter, None, tmp_path / "out", keep="0-1+2@0.5")
    model, whole = load_peft(base, tmp_path / "out"), load_peft(base, adapter)
    for name, module in whole.named_modules():
        if isinstance(module, BaseTunerLayer):
            module.enable_adapters(layer_of(name) <= 2)
            if layer_of(name) == 2:
                module.scale_layer(0.5)
    assert torch.equal(logits(model), logits(whole))
    adapter = save_kind(tmp_path / "shira", "SHIRA")
    with pytest.raises(AdapterError, match="SHiRA has no strength per layer"):
        run(base, adapter, None, tmp_path / "no", keep="all@0.5")
    assert run(base, adapter, None, tmp_path / "yes", keep="all@0.5", merge=True)["merge"]


def test_vllm_is_told_that_it_loads_lora_only(tiny: Tiny, tmp_path: Path) -> None:
    base, _ = tiny()
    adapter = save_kind(tmp_path / "adapter", "LOKR")
    with pytest.raises(LoraBoundaryError, match="vLLM loads LoRA only, and this adapter is LoKr"):
        run(base, adapter, 1, tmp_path / "out", check="vllm")


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": "mica"},
        {"use_bdlora": peft.tuners.lora.config.BdLoraConfig(["q_proj"], ["v_proj"], 2)},
    ],
    ids=["mica", "bdlora"],
)
def test_variants_of_lora_are_exported(tiny: Tiny, tmp_path: Path, settings: Any) -> None:
    base, _ = tiny()
    model = peft.get_peft_model(tiny_model(), lora_config(target_modules=["q_proj"], **settings))
    randomise(model).save_pretrained(tmp_path / "adapter")
    check(base, tmp_path / "adapter", tmp_path / "out")
    assert LAYERS - 1 not in {layer_of(name) for name in tensors(tmp_path / "out")}
