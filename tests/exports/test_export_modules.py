"""Verifying module by module, without base weights, finds what comparing logits finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from export_helpers import WEIGHTS, load_peft, logits, run, tensors
from tiny_models import LAYERS, tiny_model

from lm_eval_lora_boundary import export
from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.cuts.recorded_choice import Record
from lm_eval_lora_boundary.errors import AdapterError, BoundaryError, OutputError
from lm_eval_lora_boundary.exports import tensors as files
from lm_eval_lora_boundary.exports.adapter import AdapterCut, cut_in_memory
from lm_eval_lora_boundary.exports.by_modules import ByModules, hollow
from lm_eval_lora_boundary.exports.fresh_base import Bases
from lm_eval_lora_boundary.harness.model_args import open_cut

# PEFT's, about made-up faults
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
Tiny = Callable[..., tuple[Path, Path]]
TARGETS = ["q_proj", "v_proj", "up_proj"]
LAYER_1 = "model.layers.1.self_attn.q_proj"
LAYER_3 = "model.layers.3.self_attn.q_proj"

MODES = [False, pytest.param(True, marks=pytest.mark.slow)]  # whether to verify by logits


def made(tiny: Tiny, *, by_logits: bool, keep: str = "0-1", **config: Any) -> AdapterCut:
    base, adapter = tiny(**({"target_modules": TARGETS} | config))
    arguments = {"dtype": "float32", "device": "cpu"}
    bases = Bases(str(base), arguments, check_layers=lambda _: None)
    asked = open_cut(str(adapter), None, keep=keep, merge=False, peft_revision=None)
    assert asked.adapter is not None
    cut = cut_in_memory(bases, asked.adapter, asked, by_logits=by_logits)
    assert isinstance(cut.check, ByModules) != by_logits
    return cut


# A wrong config: as if it was meant so, and not only damaged on its way.
CONFIGS: dict[str, dict[str, Any]] = {
    "scaled": {"lora_alpha": 9},
    "scaled by the root": {"use_rslora": True},
    "alpha of a module": {"alpha_pattern": {LAYER_1: 3}},
    "ranks that the tensors do not have": {"r": 3},
    "rank of a module": {"rank_pattern": {LAYER_1: 3}},
    "short names, which are in all layers": {"target_modules": TARGETS},
    "one more module": {"target_modules": f".*layers.[01].*({'|'.join(TARGETS)})|{LAYER_3}"},
    "one module less": {"exclude_modules": [LAYER_1]},
    "one layer": {"target_modules": TARGETS, "layers_to_transform": [0]},
    "none": {"target_modules": ["no_such_module"]},
    "DoRA": {"use_dora": True},
    "biases of LoRA": {"lora_bias": True},
    "only after some tokens": {"alora_invocation_tokens": [5, 6]},
    "rewritten base weights": {"init_lora_weights": "olora"},
    "a saved module": {"modules_to_save": ["norm"]},
    "another saved module": {"modules_to_save": ["mlp"]},
    "trained tokens": {"trainable_token_indices": [5, 6]},
    "a tensor with LoRA": {"target_parameters": ["lm_head.weight"]},
}
# Logits stay right: biases that the file does not have are zero. vLLM refuses such a config.
NOT_IN_LOGITS = ({"lora_bias": True},)


@pytest.mark.parametrize("by_logits", MODES)
@pytest.mark.parametrize("changes", CONFIGS.values(), ids=list(CONFIGS))
def test_a_wrong_config_is_found(
    changes: dict[str, Any], by_logits: bool, tiny: Tiny, tmp_path: Path
) -> None:
    cut = made(tiny, by_logits=by_logits)
    if by_logits and changes in NOT_IN_LOGITS:
        pytest.skip("found module by module only")
    config: Any = cut.config
    for name, value in changes.items():
        setattr(config, name, value)
    cut.write(tmp_path, tmp_path)
    with pytest.raises((AdapterError, OutputError), match="nothing was written"):
        cut.verify(tmp_path)


def swap(found: dict[str, torch.Tensor]) -> None:
    a, b = (f"base_model.model.model.layers.{i}.self_attn.q_proj.lora_B.weight" for i in (0, 1))
    found[a], found[b] = found[b], found[a]


def first(found: dict[str, torch.Tensor]) -> str:
    return min(found)


FILES: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "two layers swapped": swap,
    "a value": lambda found: found[first(found)].view(-1)[3:4].add_(1e-3),
    "a tensor missing": lambda found: found.pop(first(found)),
    "a name that PEFT does not know": lambda found: found.__setitem__(
        first(found).replace("layers", "blocks"), found.pop(first(found))
    ),
    "half precision": lambda found: found.update({n: t.half() for n, t in found.items()}),
    "all zero": lambda found: [tensor.zero_() for tensor in found.values()],
}


@pytest.mark.parametrize("reads_bits", [True, False])
@pytest.mark.parametrize("by_logits", MODES)
@pytest.mark.parametrize("change", FILES.values(), ids=list(FILES))
def test_a_wrong_file_is_found(
    change: Any,
    by_logits: bool,
    reads_bits: bool,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its bits, and by what PEFT makes of it as well."""
    cut = made(tiny, by_logits=by_logits)
    cut.write(tmp_path, tmp_path)
    found = tensors(tmp_path)
    change(found)
    safetensors.torch.save_file(found, tmp_path / WEIGHTS)
    if not reads_bits:
        monkeypatch.setattr(files, "same", lambda *_: True)
    with pytest.raises(OutputError, match="nothing was written"):
        cut.verify(tmp_path)


def test_the_base_model_is_not_loaded(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(_: Bases) -> Any:
        raise AssertionError("the base model was loaded")

    base, adapter = tiny(target_modules=TARGETS, rank_pattern={"q_proj": 2}, use_rslora=True)
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_bytes((base / "config.json").read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(Bases, "fresh", loaded)
        facts = run(tmp_path / "base", adapter, None, tmp_path / "out", keep="0+2@0.5")
    assert facts["verified"] == "modules" and facts["max_difference"] == 0.0
    by_logits = run(base, adapter, None, tmp_path / "by_logits", keep="0+2@0.5", verify="logits")
    assert by_logits["verified"] == "logits"
    for name in (WEIGHTS, "adapter_config.json"):
        ours, theirs = (tmp_path / folder / name for folder in ("out", "by_logits"))
        paths = (str(base).encode(), str(tmp_path / "base").encode())
        assert ours.read_bytes().replace(paths[1], paths[0]) == theirs.read_bytes()
    found = logits(load_peft(base, tmp_path / "out"))
    assert torch.equal(found, logits(load_peft(base, tmp_path / "by_logits")))


@pytest.mark.parametrize(
    "config",
    [
        {"use_dora": True},
        {"lora_bias": True, "target_modules": ["q_proj"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["norm"]},
        {"target_modules": ["q_proj"], "trainable_token_indices": [5, 6]},
    ],
    ids=str,
)
def test_other_adapters_are_verified_by_logits(
    config: dict[str, Any], tiny: Tiny, tmp_path: Path
) -> None:
    base, adapter = tiny(**config)
    assert run(base, adapter, 1, tmp_path / "out")["verified"] == "logits"


def test_experts_and_loaded_models_are_verified_by_logits(tiny: Tiny, tmp_path: Path) -> None:
    base, adapter = tiny("mixtral")
    assert run(base, adapter, 1, tmp_path / "experts")["verified"] == "logits"
    _, adapter = tiny()
    assert export(tiny_model(), adapter, 1, tmp_path / "loaded")["verified"] == "logits"


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "falcon", "opt"])
def test_hollow_models_take_no_memory_and_refuse_to_be_written(
    architecture: str, tied: bool
) -> None:
    whole = tiny_model(architecture, tied=tied)
    with torch.device("meta"):
        empty = type(whole)(whole.config)
    found = hollow(empty)
    assert [n for n, _ in found.named_modules()] == [n for n, _ in whole.named_modules()]
    ours, theirs = dict(found.named_parameters()), dict(whole.named_parameters())
    assert {n: p.shape for n, p in ours.items()} == {n: p.shape for n, p in theirs.items()}
    for parameter in ours.values():
        assert parameter.untyped_storage().nbytes() == 4
        with pytest.raises(RuntimeError, match="single memory location"):
            parameter.data.copy_(torch.ones(parameter.shape))
    assert tied == (found.get_output_embeddings().weight is found.get_input_embeddings().weight)


def test_auto_compares_a_sample_of_the_weights(tiny: Tiny, tmp_path: Path) -> None:
    """Without loading them, if they are in safetensors under the model's own names."""
    base, adapter = tiny(target_modules=TARGETS)
    asked = open_cut(str(adapter), 1, keep=None, merge=False, peft_revision=None)
    assert asked.adapter is not None
    bases = Bases(str(base), {"dtype": "float32"}, check_layers=lambda _: None)
    right = bases.sample(bases.structure())
    assert right is not None
    for sample in (right, "0" * 64):
        checked = replace(asked, record=Record(adapter / "lora_boundary.json", "0-1", sample))
        if sample == right:
            assert cut_in_memory(bases, asked.adapter, checked).check.name == "modules"
        else:
            with pytest.raises(BoundaryError, match="another base model"):
                cut_in_memory(bases, asked.adapter, checked)


def test_strengths_are_those_of_the_cut(tiny: Tiny) -> None:
    """Second implementation: what the cut in memory adds, with the base model's weights."""
    cut = made(tiny, by_logits=False, keep="0-1@0.3+3@-2")
    assert isinstance(cut.check, ByModules)
    base, adapter = tiny(target_modules=TARGETS)
    whole = load_peft(base, adapter).get_base_model()
    strengths = Cut((0.3, 0.3, 0.0, -2.0)).strengths
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(2))
    for name, (a, b, factor) in cut.check.expected.items():
        if not name.endswith("q_proj"):
            continue
        module: Any = whole.get_submodule(name)
        with torch.no_grad():
            added = module(x) - module.get_base_layer()(x)
            layer = int(name.split(".")[2])
            torch.testing.assert_close(x @ a.T @ b.T * factor, added * strengths[layer])
    assert len(cut.check.expected) == 3 * (LAYERS - 1)


def test_where_tensors_begin_in_memory_changes_nothing(tiny: Tiny, tmp_path: Path) -> None:
    """Products round in another way there; a file's tensors begin anywhere."""
    cut = made(tiny, by_logits=False, r=1)
    assert isinstance(cut.check, ByModules)

    def moved(tensor: torch.Tensor, by: int) -> torch.Tensor:
        flat = torch.empty(tensor.numel() + by, dtype=tensor.dtype)[by:]
        return flat.view(tensor.shape).copy_(tensor)

    expected = cut.check.expected
    for by in range(8):
        elsewhere = {
            name: (moved(a.detach(), by), moved(b.detach(), by), factor)
            for name, (a, b, factor) in expected.items()
        }
        check = replace(cut.check, expected=elsewhere)
        folder = tmp_path / str(by)
        folder.mkdir()
        replace(cut, check=check).write(folder, folder)
        assert replace(cut, check=check).verify(folder)["max_difference"] == 0.0
