"""Base weights that PEFT rewrites while loading an adapter: found by comparison, and restored."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import peft
import pytest
import torch
from exports.export_helpers import load_base
from lm_eval.models.huggingface import HFLM
from model_helpers import TOKENS, logits, make
from tiny_models import LAYERS, cut_by_hand, lora_config, randomise, save_adapter, tiny_model
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor

from lm_eval_lora_boundary import apply_boundary, export
from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.base_tensors import BaseTensors
from lm_eval_lora_boundary.cuts.checksums import checksum
from lm_eval_lora_boundary.cuts.fingerprint import fingerprint
from lm_eval_lora_boundary.cuts.kinds import rewrites_base
from lm_eval_lora_boundary.cuts.layers import find_decoder_stack
from lm_eval_lora_boundary.cuts.loading import load_adapter
from lm_eval_lora_boundary.errors import AdapterError

KASA = {"kasa_config": {"beta": 1e-4, "gamma": 1e-3}}
# A value for every variant of LoRA. A new variant of PEFT is missing here and fails the test.
VARIANTS: dict[str, Any] = {
    "use_dora": True,
    "velora_config": {},
    "alora_invocation_tokens": [6, 7],
    "monteclora_config": {},
    "use_bdlora": {"target_modules_bd_a": ["q_proj"], "nblocks": 2, "match_strict": False},
    "arrow_config": {},
    "kasa_config": KASA["kasa_config"],
}
INITS = [
    True,
    False,
    *(
        value.replace("[number of iters]", "2")
        for option in get_args(peft.LoraConfig.__init__.__annotations__["init_lora_weights"])
        for value in get_args(option)
    ),
    "lora_ga",
]


def run(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def write(folder: Path, config: dict[str, Any]) -> Path:
    """Write an ordinary adapter with other values in its config."""
    save_adapter(folder, tiny_model(), target_modules=["q_proj", "down_proj"])
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


@pytest.fixture
def kasa(tmp_path: Path) -> Path:
    config = lora_config(kasa_config=peft.tuners.lora.KasaConfig())
    folder = tmp_path / "kasa"
    randomise(peft.get_peft_model(tiny_model(), config)).save_pretrained(folder)
    return folder


def test_kasa_is_exact_at_every_boundary(tiny: Any, kasa: Path) -> None:
    base, _ = tiny()
    outputs = []
    for boundary in range(-1, LAYERS):
        outputs.append(logits(make(base, kasa, boundary=boundary)))
        assert torch.equal(outputs[-1], run(cut_by_hand(kasa, boundary)))
    assert torch.equal(outputs[0], logits(make(base)))
    assert torch.equal(outputs[-1], logits(make(base, kasa, HFLM)))
    assert not torch.equal(outputs[1], outputs[2])


def test_moving_a_kasa_cut_needs_no_copy_of_the_base(kasa: Path) -> None:
    model = tiny_model()
    weights = {name: parameter.data_ptr() for name, parameter in model.named_parameters()}
    before = fingerprint(model)
    cut = load_adapter(model, open_adapter(kasa), lowest_dropped=0)
    assert len(cut.rewritten) == 7 * LAYERS
    for boundary in (1, -1, LAYERS - 1, 0, -1):
        cut.move(boundary)
        assert torch.equal(run(cut.model), run(cut_by_hand(kasa, boundary)))
    plain = cut.finish()
    assert fingerprint(plain) == before
    assert {name: parameter.data_ptr() for name, parameter in plain.named_parameters()} == weights


@pytest.mark.parametrize("boundary", [1, LAYERS - 1])
def test_kasa_is_merged_or_refused(tiny: Any, kasa: Path, tmp_path: Path, boundary: int) -> None:
    base, _ = tiny()
    expected = run(cut_by_hand(kasa, boundary))
    merged = make(base, kasa, boundary=boundary, merge=True)
    # W + BA is rounded once more than Wx + B(Ax)
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(AdapterError, match=r"kasa_config rewrites.*cannot convert it.*--merge"):
        export(str(base), kasa, boundary, tmp_path / "out", device="cpu")
    export(str(base), kasa, boundary, tmp_path / "out", merge=True, device="cpu", dtype="float32")
    assert torch.equal(run(load_base(tmp_path / "out")), logits(merged))


def test_apply_boundary_refuses_kasa(kasa: Path) -> None:
    model = peft.PeftModel.from_pretrained(tiny_model(), kasa).eval()
    with pytest.raises(AdapterError, match=r"kasa_config makes PEFT rewrite.*LoraBoundaryLM"):
        apply_boundary(model, 1)
    apply_boundary(model, LAYERS - 1)  # nothing is dropped


@pytest.mark.filterwarnings("ignore:.*tied.*:UserWarning")
def test_a_tied_tensor_is_dropped_with_the_module_that_rewrote_it(tmp_path: Path) -> None:
    """LoRA on a tied head rewrites the embeddings. Dropping it restores them."""
    config = lora_config(
        target_modules=["lm_head", "q_proj"], kasa_config=peft.tuners.lora.KasaConfig()
    )
    trained = randomise(peft.get_peft_model(tiny_model(tied=True), config))
    trained.save_pretrained(tmp_path, save_embedding_layers=False)
    cut = load_adapter(tiny_model(tied=True), open_adapter(tmp_path), lowest_dropped=0)
    assert torch.equal(run(cut.model), run(cut_by_hand(tmp_path, LAYERS - 1, tied=True)))
    cut.move(LAYERS - 2)
    base, fresh = cut.model.get_base_model(), tiny_model(tied=True)
    assert torch.equal(base.get_input_embeddings().weight, fresh.get_input_embeddings().weight)
    cut.move(-1)
    assert torch.equal(run(cut.model), run(fresh))


@pytest.mark.parametrize(
    "name",
    [f.name for f in dataclasses.fields(peft.LoraConfig) if f.metadata.get("is_lora_variant")],
)
def test_every_variant_is_exact_or_refused(name: str, tmp_path: Path) -> None:
    if name == "arrow_config":
        with pytest.raises(AdapterError, match="between several adapters"):
            open_adapter(write(tmp_path, {name: VARIANTS[name]}))
        return
    check(save_adapter(tmp_path, tiny_model(), **{name: VARIANTS[name]}))


@pytest.mark.parametrize("init", INITS)
def test_every_initialisation_is_exact_or_refused(init: Any, tmp_path: Path) -> None:
    extra = {"loftq_config": {"loftq_bits": 4, "loftq_iter": 1}} if init == "loftq" else {}
    check(write(tmp_path, {"init_lora_weights": init} | extra))


def check(adapter: Path) -> None:
    """Check that an adapter is exact at every boundary, unless it is refused."""
    try:
        cut = load_adapter(tiny_model(), open_adapter(adapter), lowest_dropped=0)
    except AdapterError:
        return
    if cut.rewritten:
        # apply_boundary relies on this, since it cannot compare with the weights from before
        assert rewrites_base(open_adapter(adapter).config)
    for boundary in (-1, 1, LAYERS - 1):
        cut.move(boundary)
        assert torch.equal(run(cut.model), run(cut_by_hand(adapter, boundary)))
    cut.move(-1)
    assert torch.equal(run(cut.model), run(tiny_model()))


def record(model: Any, adapter: Path, lowest: int = -1) -> BaseTensors:
    return BaseTensors(model, find_decoder_stack(model), open_adapter(adapter), lowest)


def test_every_changed_tensor_is_found(tiny: Any) -> None:
    _, adapter = tiny()
    model = tiny_model()
    before = record(model, adapter)
    norm, rotary = model.model.norm, model.model.rotary_emb
    projection = model.model.layers[2].mlp.up_proj
    old = norm.weight
    norm.weight = nn.Parameter(old.detach() + 1)  # replaced
    projection.weight.data = projection.weight.data * 2  # its values are replaced
    frequencies = rotary.inv_freq
    rotary.inv_freq = frequencies * 2
    changed = {overwrite.name: overwrite for overwrite in before.overwrites()}
    assert changed.keys() == {
        "model.norm.weight",
        "model.rotary_emb.inv_freq",
        "model.layers.2.mlp.up_proj.weight",
    }
    assert all(o.rewritten and not o.counts for o in changed.values())
    assert changed["model.norm.weight"].original is old
    assert [o.depth for _, o in sorted(changed.items())] == [2, LAYERS - 1, 0]
    for overwrite in changed.values():
        overwrite.put(overwrite.original)
    assert torch.equal(run(model), run(tiny_model()))


def test_tensors_that_are_lost_are_refused(tiny: Any) -> None:
    _, adapter = tiny()
    model = tiny_model()
    above, below = record(model, adapter, lowest=1), record(model, adapter, lowest=2)
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight[3, 4] += 1
    with pytest.raises(AdapterError, match=r"up_proj.weight .* in place .*no boundary below 2"):
        above.overwrites()
    assert [overwrite.rewritten for overwrite in below.overwrites()] == [True]


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.float8_e4m3fn]
)
@pytest.mark.parametrize("size", [1, 7, 64, (1 << 22) + 9])
def test_checksums_change_with_every_bit(dtype: torch.dtype, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    tensor = torch.randint(1, 100, (size,), generator=generator).to(dtype)
    expected = checksum(tensor)
    bits = tensor.view(torch.uint8)
    assert checksum(tensor.clone()) == expected
    assert checksum(torch.cat([tensor[:1], tensor])[1:]) == expected  # at another place in memory
    for place in (0, len(bits) // 2, len(bits) - 1):
        bits[place] ^= 1
        assert checksum(tensor) != expected
        bits[place] ^= 1
    if size > 16:
        swapped = tensor.clone()
        swapped[:8], swapped[-8:] = tensor[-8:], tensor[:8]
        assert torch.equal(swapped, tensor) or checksum(swapped) != expected


def test_checksums_of_wrapped_tensors() -> None:
    a, b = torch.arange(6.0), torch.ones(6)
    assert checksum(TwoTensor(a, b)) == checksum(a) + checksum(b)
