"""The config of a cut: exact selectors, exact ranks and alphas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
from export_helpers import config, load_peft, run
from hypothesis import given
from hypothesis import strategies as st
from peft.tuners.lora import LoraLayer
from peft.utils.other import get_pattern_key
from tiny_models import LAYERS, tiny_model

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.kept_tensors import kept_names
from lm_eval_lora_boundary.errors import AdapterError
from lm_eval_lora_boundary.exports.config import _common, _selects

PARTS = st.sampled_from(["a", "b", "h", "0", "1", "10"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map(".".join)


@given(st.dictionaries(PATHS, st.integers(1, 3), min_size=1))
def test_every_path_finds_its_own_value(values: dict[str, int]) -> None:
    common, pattern = _common(values)
    for path, value in values.items():
        assert pattern.get(get_pattern_key(pattern.keys(), path), common) == value
    assert len(set(values.values())) > 1 or not pattern


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"q_proj": 2}},
        {"rank_pattern": {r".*\.1\..*_proj": 3, "q_proj": 2}, "alpha_pattern": {"o_proj": 5}},
        {"alpha_pattern": {"layers.0.self_attn.q_proj": 3, "q_proj": 7}, "use_rslora": True},
    ],
    ids=str,
)
def test_every_layer_keeps_rank_and_scaling(
    tiny: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    base, adapter = tiny(**settings)

    def found(folder: Path) -> dict[str, tuple[Any, ...]]:
        return {
            name: (dict(module.r), dict(module.lora_alpha), dict(module.scaling))
            for name, module in load_peft(base, folder).named_modules()
            if isinstance(module, LoraLayer)
        }

    run(base, adapter, 1, tmp_path / "out")
    whole, cut = found(adapter), found(tmp_path / "out")
    assert 0 < len(cut) < len(whole)
    assert cut == {name: whole[name] for name in cut}


def test_no_pattern_is_written_if_all_kept_values_are_equal(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny(rank_pattern={"layers.3.mlp.up_proj": 7, "layers.[012].mlp.up_proj": 4})
    run(base, adapter, 2, tmp_path / "out")
    written = config(tmp_path / "out")
    assert (written["r"], written["rank_pattern"], written["alpha_pattern"]) == (4, {}, {})


def test_a_path_is_distinguished_from_one_that_ends_with_it() -> None:
    names = ["layers.0.q", "tower.layers.0.q", "layers.1.q"]
    wanted = {"layers.0.q"}
    assert not _selects(peft.LoraConfig(target_modules=["layers.0.q"]), names, wanted)
    assert _selects(peft.LoraConfig(target_modules=r"layers\.0\.q"), names, wanted)
    assert _selects(peft.LoraConfig(target_modules=["layers.1.q"]), names, {"layers.1.q"})


def test_experts_are_named_one_layer_at_a_time(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny("mixtral")
    run(base, adapter, 0, tmp_path / "out")
    written = config(tmp_path / "out")
    assert sorted(written["target_parameters"]) == [
        "model.layers.0.mlp.experts.down_proj",
        "model.layers.0.mlp.experts.gate_up_proj",
    ]
    assert all(".layers.0." in name for name in written["target_modules"])


def test_a_tensor_without_a_module_is_refused(tiny: Any) -> None:
    _, adapter = tiny()
    model = LoraCut(peft.PeftModel.from_pretrained(tiny_model(), adapter))
    names = ["base_model.model.old.name.lora_A.weight"]
    with pytest.raises(AdapterError, match=r"holds base_model\.model\.old\.name.*save_pretrained"):
        kept_names(names, model, LAYERS - 1, Path("folder"))
