"""Gradients by the strengths of layers, against finite differences of PEFT's own scaling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
from gradient_helpers import GOLD, PAIRS, Tiny, assert_agrees_with_second, load
from peft.tuners.lora import LoraLayer
from tiny_models import ARCHITECTURES, LAYERS, lora_config, randomise, tiny_model

from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.errors import AdapterError, ModelError
from lm_eval_lora_boundary.forward.loglikelihood import plain_score
from lm_eval_lora_boundary.traces.gradient import Differentiator, measure


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_derivatives_are_those_of_finite_differences(architecture: str, tiny: Tiny) -> None:
    # torch's grouped product, which experts use by default, does not take fp64
    eager = {"experts_implementation": "eager"} if architecture == "mixtral" else {}
    assert_agrees_with_second(tiny(architecture), **eager)


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")
# PEFT compares the bias with the shape of a matrix
@pytest.mark.filterwarnings("ignore:.*have invalid shape")
@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": ["embed_tokens", "v_proj"]},
        {"lora_bias": True, "target_modules": ["q_proj", "down_proj"]},
        {"target_modules": ["lm_head", "down_proj"]},
        {"use_rslora": True, "rank_pattern": {"q_proj": 2}},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1, 2]},
    ],
    ids=str,
)
def test_so_they_are_for_other_parts_and_scalings(
    config: dict[str, Any], tiny: Tiny, tmp_path: Path
) -> None:
    base, _ = tiny()
    model = randomise(peft.get_peft_model(tiny_model(), lora_config(**config)))
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    assert_agrees_with_second((base, tmp_path))


def test_a_layer_without_lora_has_no_derivative(tiny: Tiny) -> None:
    folders = tiny(target_modules=["q_proj"], layers_to_transform=[1, 2])
    found = Differentiator(load(folders)).read(GOLD)
    derivatives = np.stack([each.derivative for each in found])
    assert (derivatives[..., [0, 3]] == 0).all() and (derivatives[..., [1, 2]] != 0).all()


def test_the_model_is_as_before(tiny: Tiny) -> None:
    """Also the names and the order of its parameters, and whether they are trained."""
    for architecture in ("llama", "mixtral"):
        lm = load(tiny(architecture), "float32")
        trained = next(p for n, p in lm.cut.model.named_parameters() if "lora_A" in n)
        trained.requires_grad_()
        before = {n: (id(p), p.requires_grad) for n, p in lm.cut.model.named_parameters()}
        layers = [m for m in lm.cut.model.modules() if isinstance(m, LoraLayer)]
        scaling = [dict(layer.scaling) for layer in layers]
        score = plain_score(lm.cut.model, *PAIRS[0], lm.device)
        Differentiator(lm).read(GOLD)
        after = {n: (id(p), p.requires_grad) for n, p in lm.cut.model.named_parameters()}
        assert list(before.items()) == list(after.items())
        assert all(parameter.grad is None for parameter in lm.cut.model.parameters())
        assert [layer.scaling for layer in layers] == scaling
        assert plain_score(lm.cut.model, *PAIRS[0], lm.device) == score
        assert all("forward" not in vars(module) for module in lm.cut.model.modules())
        assert not any(module._forward_hooks for module in lm.cut.model.modules())


def test_dropout_stays_off(tiny: Tiny) -> None:
    differentiator = Differentiator(load(tiny("gpt2", lora_dropout=0.5)))
    first, second = differentiator.read(GOLD), differentiator.read(GOLD)
    for one, other in zip(first, second, strict=True):
        assert (one.derivative == other.derivative).all()


def test_half_precision_reads_the_adapter_as_it_is(tiny: Tiny) -> None:
    """At strength 1, a gate changes no bit: the value is that of the model without gates."""
    lm = load(tiny(), "bfloat16")
    differentiator = Differentiator(lm)
    differentiator.check(GOLD)
    found = differentiator.read(GOLD, rows=1)
    full = Cut.up_to(LAYERS - 1, LAYERS)
    measured = measure(lm, GOLD, [full], rows=1)[full]
    assert [each.logprob[-1] for each in found] == measured.tolist()


def test_a_scaling_that_is_not_pefts_is_refused(tiny: Tiny) -> None:
    """As of a layer whose LoRA the gates do not reach."""
    differentiator = Differentiator(load(tiny()))
    differentiator._gates._parts.pop()
    with pytest.raises(ModelError, match=r"scaled by 0, it gives .* but PEFT's own model gives"):
        differentiator.check(GOLD)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"use_dora": True}, "DoraLinearVariant, which does not scale linearly"),
        ({"modules_to_save": ["lm_head"]}, "lm_head: the adapter has a ModulesToSaveWrapper"),
        ({"bias": "lora_only", "architecture": "phi"}, "the adapter holds a whole tensor"),
        ({"init_lora_weights": "pissa"}, "rewrites the base weights under its LoRA"),
        ({"alora_invocation_tokens": [7, 8]}, "works only after certain tokens"),
    ],
    ids=str,
)
def test_what_cannot_be_scaled_is_refused(config: dict[str, Any], reason: str, tiny: Tiny) -> None:
    with pytest.raises(AdapterError, match=reason) as caught:
        Differentiator(load(tiny(**config), "float32"))
    assert "\n" not in str(caught.value)
