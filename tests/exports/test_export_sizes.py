"""The size of a cut, compared with the folder that is exported and with counted arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
from adapter_kinds import save_kind
from export_helpers import WEIGHTS, load_peft, run, tensors
from model_helpers import TOKENS
from tiny_models import LAYERS, randomise, tiny_model
from torch.utils.flop_counter import FlopCounterMode

from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.keep import parse_keep
from lm_eval_lora_boundary.cuts.loading import load_adapter
from lm_eval_lora_boundary.cuts.size import size_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's, about the tiny bases
Tiny = Callable[..., tuple[Path, Path]]
CUTS = ("0-1", "2-3@0.5", "all")
ADAPTERS: dict[str, dict[str, Any]] = {
    "linear": {},
    "few layers": {
        **{"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1, 2]},
        "rank_pattern": {"q_proj": 2},
    },
    "head and embedding": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "saved norm": {"target_modules": ["v_proj"], "modules_to_save": ["norm"]},
}


def opened(architecture: str, adapter: Path) -> LoraCut:
    return load_adapter(tiny_model(architecture), open_adapter(adapter), lowest_dropped=0)


def _scales(config: dict[str, Any]) -> bool:
    """Return whether the top layers hold LoRA only; PEFT saves an adapted head whole."""
    return "modules_to_save" not in config and "lm_head" not in config.get("target_modules", ())


def check_file(folder: Path, size: Any) -> None:
    written = tensors(folder)
    assert size["parameters"] == sum(math.prod(tensor.shape) for tensor in written.values())
    assert size["bytes"] == sum(tensor.nbytes for tensor in written.values())


@pytest.mark.parametrize("config", ADAPTERS.values(), ids=list(ADAPTERS))
def test_the_size_is_that_of_the_exported_folder(
    config: dict[str, Any], tiny: Tiny, tmp_path: Path
) -> None:
    base, adapter = tiny(**config)
    opened_adapter, model = open_adapter(adapter), opened("llama", adapter)
    for keep in CUTS:
        cut = parse_keep(keep, LAYERS)
        if "@" in keep and not _scales(config):
            continue
        size = size_of(model, opened_adapter, cut)
        run(base, adapter, None, tmp_path / keep, keep=keep)
        check_file(tmp_path / keep, size)
        kept = {layer for layer in range(LAYERS) if cut.strengths[layer]}
        if "layers_to_transform" in config:
            kept &= {1, 2}
        assert size["layers_kept"] == len(kept)
    nothing = {"parameters": 0, "bytes": 0, "flops_per_token": 0, "layers_kept": 0}
    assert size_of(model, opened_adapter, -1) == nothing


def test_bytes_are_those_of_the_stored_precision(tiny: Tiny, tmp_path: Path) -> None:
    _, adapter = tiny()
    model, whole = (
        opened("llama", adapter),
        size_of(opened("llama", adapter), open_adapter(adapter), 3),
    )
    half = {name: tensor.to(torch.bfloat16) for name, tensor in tensors(adapter).items()}
    (tmp_path / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    safetensors.torch.save_file(half, tmp_path / WEIGHTS)
    assert size_of(model, open_adapter(tmp_path), 3) == {**whole, "bytes": whole["bytes"] / 2}


@pytest.mark.parametrize("kind", ["IA3", "VERA", "ADALORA"])
def test_other_kinds_have_parameters_and_no_arithmetic(
    kind: str, tiny: Tiny, tmp_path: Path
) -> None:
    base, _ = tiny()
    adapter = save_kind(tmp_path / "adapter", kind)
    size = size_of(opened("llama", adapter), open_adapter(adapter), 1)
    run(base, adapter, 1, tmp_path / "out")
    check_file(tmp_path / "out", size)
    assert size["flops_per_token"] is None
    assert size["layers_kept"] == 2


def counted(model: Any) -> int:
    """Second implementation: what torch counts in a run, for one token."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(TOKENS, use_cache=False)
    return counter.get_total_flops() // TOKENS.numel()


@pytest.mark.parametrize("config", ADAPTERS.values(), ids=list(ADAPTERS))
def test_the_arithmetic_is_what_torch_counts(config: dict[str, Any], tiny: Tiny) -> None:
    _, adapter = tiny(**config)
    model, opened_adapter = opened("llama", adapter), open_adapter(adapter)
    model.move(-1)
    base = counted(model.model)
    for boundary in range(LAYERS):
        model.move(boundary)
        size = size_of(model, opened_adapter, boundary)
        assert size["flops_per_token"] == counted(model.model) - base


def test_gpt2_stores_its_weights_transposed(tiny: Tiny) -> None:
    base, adapter = tiny("gpt2")
    whole = size_of(opened("gpt2", adapter), open_adapter(adapter), LAYERS - 1)
    model = load_peft(base, adapter)
    with_lora = counted(model)
    with model.disable_adapter():
        assert whole["flops_per_token"] == with_lora - counted(model)


@pytest.mark.parametrize(
    ("architecture", "config"), [("llama", {"use_dora": True}), ("mixtral", {})]
)
def test_no_number_where_a_and_b_are_not_all_or_run_for_some_tokens(
    architecture: str, config: dict[str, Any], tiny: Tiny
) -> None:
    _, adapter = tiny(architecture, **config)
    size = size_of(opened(architecture, adapter), open_adapter(adapter), 1)
    assert size["flops_per_token"] is None
    assert size["parameters"] * 4 == size["bytes"] > 0


def test_experts_that_are_modules_run_for_some_tokens(tmp_path: Path) -> None:
    base = tiny_model()
    for layer in base.model.layers:
        layer.mlp.experts = torch.nn.ModuleList([torch.nn.Linear(32, 32), torch.nn.Linear(32, 32)])
    for targets, defined in ((["q_proj"], True), (["q_proj", "experts.1"], False)):
        config = peft.LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM")
        model = randomise(peft.get_peft_model(base, config))
        model.save_pretrained(tmp_path)
        found = size_of(LoraCut(model, ()), open_adapter(tmp_path), 1)["flops_per_token"]
        assert (found is not None) == defined
        base = model.unload()
