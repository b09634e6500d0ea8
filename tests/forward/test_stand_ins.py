"""Modules with LoRA that run on some rows of a batch at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fork_helpers import ANY, BOUNDARIES, TOLERANCE, cut_model, forked_model, start
from torch import nn

from lm_eval_lora_boundary.errors import ModelError

TOKENS = 3


def experts_of(cut: Any, layer: int = 0) -> Any:
    return cut.model.get_base_model().get_submodule(f"{cut.stack.path}.{layer}.mlp.experts")


def inputs_of_experts(rows: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn((rows * TOKENS, 32), generator=generator)
    chosen = torch.randint(0, 2, (rows * TOKENS, 1), generator=generator)
    return hidden, chosen, torch.rand((rows * TOKENS, 1), generator=generator)


@pytest.mark.parametrize("cuts", [BOUNDARIES, ANY, ["all@0.3"], [-1]], ids=str)
@torch.no_grad()
def test_experts_run_once_for_each_strength(cuts: list[int | str]) -> None:
    """Every row gets what PEFT computes for it alone, and the adapter is as it was."""
    cut = cut_model("mixtral")
    forked = forked_model(cut, cuts)
    texts = start(cut, forked, 2)
    forked.plan(texts.rows)
    own = experts_of(cut)
    whole = dict(own.scaling)
    rows = len(texts.rows.layers[0].first)
    inputs = inputs_of_experts(rows)
    runs = []
    own.get_base_layer().register_forward_pre_hook(lambda _, args: runs.append(len(args[0])))
    forked._plans[0].tokens = TOKENS
    with forked.forking():
        ours = experts_of(cut)(*inputs)
    strengths = forked.beginnings.strengths[texts.rows.cuts[texts.rows.layers[0].first], 0]
    assert len(runs) == len(set(strengths)) and sum(runs) == rows * TOKENS
    assert own.scaling == whole
    for row, strength in enumerate(strengths):
        here = slice(row * TOKENS, (row + 1) * TOKENS)
        some = [tensor[here] for tensor in inputs]
        layers = [module for module in own.modules() if hasattr(module, "scale_layer")]
        for layer in layers:
            layer.scale_layer(strength)
        expected = own(*some) if strength else own.get_base_layer()(*some)
        for layer in layers:
            layer.scaling.update(whole)
        torch.testing.assert_close(ours[here], expected, rtol=TOLERANCE, atol=TOLERANCE)


@torch.no_grad()
def test_scaling_comes_back_after_an_error() -> None:
    cut = cut_model("mixtral")
    forked = forked_model(cut, ["all@0.3"])
    forked.plan(start(cut, forked, 2).rows)
    forked._plans[0].tokens = TOKENS
    own = experts_of(cut)
    whole = dict(own.scaling)

    def stop(*_: Any) -> None:
        raise RuntimeError("stop")

    own.get_base_layer().register_forward_pre_hook(stop)
    with pytest.raises(RuntimeError, match="stop"), forked.forking():
        experts_of(cut)(*inputs_of_experts(2))
    assert own.scaling == whole


@torch.no_grad()
def test_what_belongs_to_no_row_is_refused() -> None:
    """The tokens that a router has sent here, or a table beside them, cannot be divided."""
    cut = cut_model("mixtral")
    forked = forked_model(cut, BOUNDARIES)
    texts = start(cut, forked, 2)
    forked.plan(texts.rows)
    forked._plans[0].tokens = TOKENS
    rows = len(texts.rows.layers[0].first)
    hidden, chosen, weights = inputs_of_experts(rows)
    with forked.forking():
        with pytest.raises(ModelError, match=r"rows of 3 tokens cannot be told apart"):
            experts_of(cut)(hidden[:-1], chosen[:-1], weights[:-1])
        with pytest.raises(ModelError, match=r"shape \(5, 1\) for 4 rows of 3 tokens"):
            experts_of(cut)(hidden, chosen, weights[:5])


def test_a_module_that_layers_share_is_refused() -> None:
    """Its LoRA belongs to the first layer that has it, but runs in the second one too."""
    cut = cut_model("llama")
    layers = cut.model.get_base_model().get_submodule(cut.stack.path)
    assert isinstance(layers, nn.ModuleList)
    layers[2].mlp = layers[1].mlp
    with pytest.raises(ModelError, match=r"several decoder layers share a module with LoRA"):
        forked_model(cut, BOUNDARIES)


def projection_of(cut: Any) -> Any:
    return cut.model.get_base_model().get_submodule(f"{cut.stack.path}.0.self_attn.q_proj")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scaling", [1.0, 2.0, 0.125, 1.7, -2.0])
@torch.no_grad()
def test_lora_gives_the_same_bits_as_peft(scaling: float, dtype: torch.dtype) -> None:
    """Also where one operation does for two: times a power of two, nothing is rounded."""
    cut = cut_model("llama")
    own = projection_of(cut)
    own.scaling["default"] = scaling
    forked = forked_model(cut, ["all"])
    own.get_base_layer().to(dtype)
    forked.plan(start(cut, forked, 4).rows)
    forked._plans[0].tokens = TOKENS
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn((4, TOKENS, 32), generator=generator).to(dtype)
    with forked.forking():
        ours = projection_of(cut)(inputs)
    expected = own(inputs)
    assert not torch.equal(expected, own.get_base_layer()(inputs))
    assert ours.dtype == expected.dtype == dtype
    assert torch.equal(ours, expected)


@torch.no_grad()
def test_a_hook_of_a_lora_layer_is_called() -> None:
    """As those of accelerate, which load weights before they are used."""
    cut = cut_model("llama")
    own = projection_of(cut)
    called = []
    own.lora_A["default"].register_forward_pre_hook(lambda *_: called.append("pre"))
    own.lora_B["default"].register_forward_hook(lambda *_: called.append("hook"))
    forward = projection_of(cut).lora_A["default"].forward
    forked = forked_model(cut, ["all"])
    forked.plan(start(cut, forked, 2).rows)
    forked._plans[0].tokens = TOKENS
    inputs = torch.ones((2, TOKENS, 32))
    called.clear()  # the decoder is tried out first
    with forked.forking():
        projection_of(cut)(inputs)
    assert called == ["pre", "hook"]

    def other(inputs: torch.Tensor) -> torch.Tensor:
        called.append("other")
        result: torch.Tensor = forward(inputs)
        return result

    own.lora_A["default"].forward = other  # as accelerate's hooks replace it
    again = forked_model(cut, ["all"])
    again.plan(start(cut, again, 2).rows)
    again._plans[0].tokens = TOKENS
    called.clear()
    with again.forking():
        projection_of(cut)(inputs)
    assert called == ["pre", "other", "hook"]
