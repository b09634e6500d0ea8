"""Every kind of adapter that PEFT has: cut exactly, or refused by name."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from adapter_kinds import CONFIGS, SETTINGS, layer_of, save_kind
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from tiny_models import LAYERS, lora_config, randomise, tiny_model

from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.effect import has_effect
from lm_eval_lora_boundary.cuts.keep import parse_keep
from lm_eval_lora_boundary.cuts.kinds import KINDS, named_kind
from lm_eval_lora_boundary.cuts.loading import load_adapter
from lm_eval_lora_boundary.cuts.modules import count_parameters
from lm_eval_lora_boundary.errors import AdapterError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's, about the tiny bases

TOKENS = torch.arange(4, 20).reshape(2, 8)
SUPPORTED = sorted(name for name, kind in KINDS.items() if not kind.refusal)
REFUSED = sorted(name for name, kind in KINDS.items() if kind.refusal)
SCALED = sorted(name for name, kind in KINDS.items() if kind.scaling)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


def loaded(adapter: Path) -> Any:
    return load_adapter(tiny_model(), open_adapter(adapter), lowest_dropped=0)


def by_hand(adapter: Path, boundary: int) -> Any:
    """Cut in another way: PEFT, with modules of a fresh base model in place of dropped ones."""
    cut = peft.PeftModel.from_pretrained(tiny_model(), adapter).eval()
    base, fresh = cut.get_base_model(), tiny_model()
    names = [name for name, each in base.named_modules() if isinstance(each, BaseTunerLayer)]
    for name in names:
        if layer_of(name) > boundary:
            parent, _, attribute = name.rpartition(".")
            setattr(base.get_submodule(parent), attribute, fresh.get_submodule(name))
    return cut


def test_every_kind_that_peft_has_is_known() -> None:
    """If this fails with a new PEFT: find out whether the kind has a module in each layer."""
    registered = {kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    assert registered == set(KINDS)
    assert sorted(SETTINGS) == SUPPORTED, "each kind that can be cut has a tiny adapter"


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_boundary_equals_peft_by_hand(name: str, tmp_path: Path) -> None:
    adapter = save_kind(tmp_path, name)
    cut = loaded(adapter)
    assert cut.kind is KINDS[name]
    total = count_parameters(cut.modules)
    outputs = []
    for boundary in (-1, 1, LAYERS - 1):
        cut.move(boundary)
        outputs.append(logits(cut.model))
        assert torch.equal(outputs[-1], logits(by_hand(adapter, boundary)))
        left = {n for n, m in cut.model.named_modules() if isinstance(m, BaseTunerLayer)}
        assert {layer_of(n) for n in left} == {m.depth for m in cut.kept()}
        assert 0 < count_parameters(cut.kept()) <= total or boundary == -1
    assert torch.equal(outputs[0], logits(tiny_model()))
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(outputs)]
    assert moved == [True, name != "TRAINABLE_TOKENS"], "trained tokens have the depth of layer 0"
    trainable = peft.PeftModel.from_pretrained(tiny_model(), adapter, is_trainable=True)
    sizes = {id(p): p.numel() for p in trainable.parameters() if p.requires_grad}
    assert total >= sum(sizes.values())


@pytest.mark.parametrize("name", SUPPORTED)
def test_merging_equals_pefts_own_or_is_refused(name: str, tmp_path: Path) -> None:
    adapter = save_kind(tmp_path, name)
    cut = loaded(adapter)
    cut.move(1)
    if name in ("BEFT", "LILY"):  # biases without a place; an update that depends on the input
        with pytest.raises(AdapterError, match=r"cannot be merged .*; leave out merge=True"):
            cut.finish(merge=True)
        return
    merged = cut.finish(merge=True)
    assert not any(isinstance(module, BaseTunerLayer) for module in merged.modules())
    theirs = by_hand(adapter, 1).merge_and_unload(safe_merge=True)
    assert torch.equal(logits(merged), logits(theirs))
    # merging adds up in another order, and some kinds invert matrices
    torch.testing.assert_close(logits(merged), logits(by_hand(adapter, 1)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_strength_scales_what_a_layer_adds_or_is_refused(name: str, tmp_path: Path) -> None:
    cut = loaded(save_kind(tmp_path, name))
    half = parse_keep("all@0.5", LAYERS)
    if name not in SCALED:
        with pytest.raises(AdapterError, match="PEFT has no scaling of"):
            cut.move(half)
        return
    module: Any = cut.modules[0]
    inputs = torch.randn(3, 5, module.original.in_features, generator=torch.manual_seed(0))
    with torch.no_grad():
        base, whole = module.original(inputs), module.adapted(inputs)
        cut.move(half)
        scaled = module.adapted(inputs)
        cut.move(LAYERS - 1)
        assert torch.equal(module.adapted(inputs), whole)
    assert not torch.equal(base, whole)
    # one rounding of the factor, and one of the sum
    torch.testing.assert_close(scaled - base, 0.5 * (whole - base), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_the_others_are_refused_with_a_reason(name: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": name}))
    with pytest.raises(AdapterError, match=rf"peft_type={name}; .*Use|use --model hf") as refused:
        open_adapter(tmp_path)
    assert KINDS[name].refusal in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_kind_that_nobody_has_looked_at_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AdapterError, match="unknown to PEFT"):
        named_kind("SOMETHING")
    monkeypatch.delitem(KINDS, "LOHA")
    with pytest.raises(AdapterError, match="newer than this package"):
        named_kind("LOHA")


def test_kinds_have_hashes_of_their_own(tmp_path: Path) -> None:
    hashes = {}
    for name in ("LOHA", "LOKR", "IA3", "VERA"):
        adapter = save_kind(tmp_path / name, name)
        hashes[name] = open_adapter(adapter).config_sha256
        same = open_adapter(save_kind(tmp_path / f"{name}-again", name))
        assert same.config_sha256 == hashes[name]
        assert same.sha256 == open_adapter(adapter).sha256
    assert len(set(hashes.values())) == len(hashes)
    other = open_adapter(save_kind(tmp_path / "other", "LOHA", alpha=16))
    assert other.config_sha256 != hashes["LOHA"]


@pytest.mark.parametrize("name", ["LOHA", "IA3", "VERA"])
def test_an_untrained_adapter_has_no_effect(name: str, tmp_path: Path) -> None:
    model = peft.get_peft_model(tiny_model(), CONFIGS[name]())
    model.save_pretrained(tmp_path / "new")
    cut = loaded(tmp_path / "new")
    assert not has_effect(cut.modules, cut.kind)
    assert has_effect(loaded(save_kind(tmp_path / "trained", name)).modules, cut.kind)


def test_other_shapes_are_told_in_one_line(tmp_path: Path) -> None:
    for name in ("LORA", "LOHA"):
        adapter = save_kind(tmp_path / name, name)
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps(config | {"r": 3}))
        with pytest.raises(AdapterError, match=r"q_proj\.\w+.* is .*4.*, and .*3.* was expected"):
            loaded(adapter)


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": "mica"},
        {"use_bdlora": peft.tuners.lora.config.BdLoraConfig(["q_proj"], ["v_proj"], 2)},
    ],
    ids=["mica", "bdlora"],
)
def test_variants_with_shapes_or_a_start_of_their_own(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = lora_config(target_modules=["q_proj", "v_proj"], **settings)
    randomise(peft.get_peft_model(tiny_model(), config)).save_pretrained(tmp_path)
    cut = loaded(tmp_path)
    for boundary in (-1, 1, LAYERS - 1):
        cut.move(boundary)
        assert torch.equal(logits(cut.model), logits(by_hand(tmp_path, boundary)))
    cut.move(parse_keep("all@0.5", LAYERS))
