"""LoRA on modules whose weight the model reads without calling them."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from tiny_models import ARCHITECTURES, LAYERS, lora_config, randomise, tiny_model

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.layers import bypassed
from lm_eval_lora_boundary.errors import AdapterError

TOKENS = torch.arange(4, 20).reshape(2, 8)


def adapted(architecture: str, **config: Any) -> LoraCut:
    model = peft.get_peft_model(tiny_model(architecture), lora_config(architecture, **config))
    return LoraCut(randomise(model).eval())


def test_merging_what_the_unmerged_model_does_not_use_is_refused() -> None:
    cut = adapted("mamba", target_modules=["dt_proj", "x_proj"])
    cut.move(0)
    with pytest.raises(
        AdapterError, match=r"reads the weight of backbone\.layers\.0\.mixer\.dt_proj without"
    ):
        cut.finish(merge=True)


@torch.no_grad()
def test_lora_that_training_never_reached_is_merged() -> None:
    """Its B is still zero, as nothing depended on it."""
    cut = adapted("mamba", target_modules=["dt_proj", "x_proj"])
    for name, parameter in cut.model.named_parameters():
        if "dt_proj.lora_B" in name:
            parameter.zero_()
    before = cut.model(TOKENS).logits
    merged = cut.finish(merge=True)(TOKENS).logits
    torch.testing.assert_close(merged, before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_other_decoders_call_all_their_modules(architecture: str) -> None:
    cut = adapted(architecture)
    names = [module.name for module in cut.kept()]
    assert len(names) >= LAYERS
    assert not bypassed(cut.model.get_base_model(), cut.stack, names)
