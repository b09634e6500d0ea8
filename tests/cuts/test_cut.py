"""Cutting in memory, compared with PEFT's own switches on every architecture."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import Any

import peft
import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from tiny_models import (
    ARCHITECTURES,
    LAYERS,
    disable_above,
    lora_config,
    randomise,
    tiny_model,
)

from lm_eval_lora_boundary import apply_boundary
from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.effect import has_effect
from lm_eval_lora_boundary.cuts.layers import DecoderStack, depths, find_decoder_stack
from lm_eval_lora_boundary.errors import AdapterError, BoundaryError, ModelError

TOKENS = torch.arange(4, 20).reshape(2, 8)


def adapted(architecture: str = "llama", *, tied: bool = False, **config: Any) -> Any:
    base = tiny_model(architecture, tied=tied)
    return randomise(peft.get_peft_model(base, lora_config(architecture, **config))).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equals_peft_with_upper_layers_disabled(architecture: str, tied: bool) -> None:
    model = adapted(architecture, tied=tied)
    with model.disable_adapter():
        base = logits(model)
    whole = logits(model)
    assert not torch.equal(base, whole)
    outputs = []
    for boundary in range(-1, LAYERS):
        disable_above(model, boundary)
        expected = logits(model)
        disable_above(model, LAYERS)
        with apply_boundary(model, boundary) as cut:
            assert torch.equal(logits(model), expected)
            deep = {m.name for m in cut.modules if m.depth > boundary}
            assert not any(
                isinstance(module, BaseTunerLayer) and name in deep
                for name, module in model.get_base_model().named_modules()
            )
        assert torch.equal(logits(model), whole), "leaving the block restores the whole adapter"
        outputs.append(expected)
    assert torch.equal(outputs[0], base)
    assert torch.equal(outputs[-1], whole)
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(outputs))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_decoder_stack_and_depths(architecture: str) -> None:
    model = tiny_model(architecture)
    stack = find_decoder_stack(model)
    assert stack.count == LAYERS
    names = [name for name, module in model.named_modules() if name and name != stack.path]
    where = depths(model, stack, names)
    head = next(n for n, m in model.named_modules() if m is model.get_output_embeddings())
    embedding = next(n for n, m in model.named_modules() if m is model.get_input_embeddings())
    assert where[embedding] == 0
    assert where[head] == LAYERS - 1
    for name in names:
        inside = [int(part) for part in name.split(".") if part.isdigit()]
        if inside:
            assert where[name] == inside[0]
        elif "norm" in name.rpartition(".")[2] or name.endswith("ln_f"):
            assert where[name] == LAYERS - 1


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.0.mlp", 0),
        ("model.layers.3.mlp.experts.5.w1", 3),
        ("model.layers.12.self_attn.q_proj", 12),
        ("model.layers", None),
        ("model.norm", None),
        ("vision.model.layers.3.mlp", None),
    ],
)
def test_layer_is_the_first_index_under_the_decoder(name: str, layer: int | None) -> None:
    assert DecoderStack("model.layers", 20).layer_of(name) == layer


def test_opt_projections_have_the_depth_of_their_side() -> None:
    """OPT defines its final norm before its layers, so the order of definition says nothing."""
    model = tiny_model("opt", word_embed_proj_dim=16)
    stack = find_decoder_stack(model)
    where = depths(model, stack, ["model.decoder.project_in", "model.decoder.project_out"])
    assert where == {"model.decoder.project_in": 0, "model.decoder.project_out": LAYERS - 1}


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["q_proj", "v_proj"]},
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
def test_every_way_to_name_targets(config: dict[str, Any]) -> None:
    model = adapted(**config)
    for boundary in (-1, 0, 1, LAYERS - 1):
        disable_above(model, boundary)
        expected = logits(model)
        disable_above(model, LAYERS)
        with apply_boundary(model, boundary):
            assert torch.equal(logits(model), expected)


@pytest.mark.parametrize("tied", [False, True])
def test_one_depth_rule_for_saved_modules_and_tokens(tied: bool) -> None:
    """The embedding side counts as layer 0, the norm and the head as layer N-1, for all kinds."""
    config: dict[str, Any] = {"target_modules": ["q_proj"]}
    if tied:
        config["trainable_token_indices"] = [5, 6]
    else:
        config |= {"modules_to_save": ["lm_head", "norm"], "trainable_token_indices": [5, 6]}
    model = adapted(tied=tied, **config)
    base = model.get_base_model()
    whole = logits(model)

    def kinds() -> dict[str, bool]:
        return {
            "embedding": isinstance(base.get_input_embeddings(), AuxiliaryTrainingWrapper),
            "head": isinstance(base.get_output_embeddings(), AuxiliaryTrainingWrapper),
        }

    with apply_boundary(model, LAYERS - 2) as cut:
        assert kinds() == {"embedding": True, "head": False}
        cut.move(-1)
        assert kinds() == {"embedding": False, "head": False}
        assert torch.equal(logits(model), logits(tiny_model(tied=tied)))
    assert kinds() == {"embedding": True, "head": True}
    assert torch.equal(logits(model), whole)


def test_dropped_modules_are_freed() -> None:
    model = adapted()
    layer = model.get_base_model().model.layers[3].mlp.up_proj
    dropped = weakref.ref(layer.lora_A["default"])
    del layer
    cut = apply_boundary(model, 1)
    kept = sum(module.parameters for module in cut.kept())
    cut.finish()
    del cut
    gc.collect()
    assert dropped() is None
    lora = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    assert lora == kept > 0


def test_counts_add_up() -> None:
    model = adapted(modules_to_save=["lm_head"])
    cut = LoraCut(model)
    total = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n or "_to_save" in n)
    for boundary in range(-1, LAYERS):
        both = [*cut.kept(boundary), *cut.dropped(boundary)]
        assert sorted(m.name for m in both) == sorted(m.name for m in cut.modules)
        assert sum(m.parameters for m in both) == total


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "embed_tokens", "lm_head"]])
@pytest.mark.parametrize("boundary", [1, LAYERS - 1])
@pytest.mark.filterwarnings("ignore:.*tied.*:UserWarning")  # PEFT's, on merging tied weights
def test_merge_leaves_no_peft_layer(tied: bool, targets: Any, boundary: int) -> None:
    model = adapted(tied=tied, target_modules=targets)
    cut = apply_boundary(model, boundary)
    expected = logits(model)
    merged = cut.finish(merge=True)
    assert not any(
        isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper))
        for module in merged.modules()
    )
    # W + BA is rounded once more than Wx + B(Ax)
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)


def test_merge_equals_peft_merge() -> None:
    ours, theirs = adapted(), adapted()
    merged = apply_boundary(ours, LAYERS - 1).finish(merge=True)
    assert torch.equal(logits(merged), logits(theirs.merge_and_unload()))


def test_effect() -> None:
    model = adapted()
    cut = LoraCut(model)
    assert has_effect(list(cut.modules))
    for name, parameter in model.named_parameters():
        if "lora_B" in name and ".layers.0." not in name:
            parameter.data.zero_()
    assert has_effect(cut.kept(0))
    assert not has_effect(cut.dropped(0))


@pytest.mark.parametrize("boundary", [-2, LAYERS, 100])
def test_out_of_range_names_the_range(boundary: int) -> None:
    with pytest.raises(BoundaryError, match=rf"-1 \(keep none\) to {LAYERS - 1} \(keep all\)"):
        apply_boundary(adapted(), boundary)


@pytest.mark.parametrize("boundary", [1.0, "1", True])
def test_not_an_integer(boundary: Any) -> None:
    with pytest.raises(BoundaryError, match="not an integer"):
        apply_boundary(adapted(), boundary)


def test_refuses_what_it_cannot_cut() -> None:
    two = adapted()
    two.add_adapter("second", peft.LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(AdapterError, match="one adapter, got 2"):
        apply_boundary(two, 1)
    merged = adapted()
    merged.merge_adapter()
    with pytest.raises(AdapterError, match="unmerge"):
        apply_boundary(merged, 1)
    prompt = peft.PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    with pytest.raises(AdapterError, match="PROMPT_TUNING"):
        apply_boundary(peft.get_peft_model(tiny_model(), prompt), 1)


@pytest.mark.parametrize("init", ["pissa", "olora", "pissa_niter_2"])
def test_refuses_initialisations_that_rewrite_the_base(init: str) -> None:
    model = peft.get_peft_model(
        tiny_model(), peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=init)
    )
    with pytest.raises(AdapterError, match=r"init_lora_weights.*LoraBoundaryLM"):
        apply_boundary(model, 1)
    apply_boundary(model, LAYERS - 1)  # nothing is dropped


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_refuses_biases_that_were_trained_in_place(bias: str) -> None:
    model = peft.get_peft_model(
        tiny_model("gpt2"), lora_config("gpt2", target_modules=["c_attn"], bias=bias)
    )
    with pytest.raises(AdapterError, match="bias="):
        apply_boundary(model, 1)


def test_refuses_models_without_one_stack_of_layers() -> None:
    model = tiny_model()
    model.config.num_hidden_layers = LAYERS + 1
    with pytest.raises(ModelError, match=f"one list of {LAYERS + 1} decoder layers"):
        find_decoder_stack(model)
