"""What holds for any model, any adapter and any cut, bit for bit.

The ordinary tests try a few cases, always the same; `make test-all` tries many new ones.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from random_adapters import (
    MIXED,
    SHARED,
    TWICE,
    Case,
    Several,
    as_keep,
    by_hand,
    cases,
    few,
    logits,
    many,
)

from lm_eval_lora_boundary import apply_boundary
from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.errors import LoraBoundaryError
from lm_eval_lora_boundary.exports.api import export
from lm_eval_lora_boundary.forward.routing import ForkedModel
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.forward.texts import Texts

# a pattern may be drawn for a layer without LoRA
pytestmark = pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")

# Batches of other sizes round fp32 sums differently.
TOLERANCE = 5e-5


def equals_peft_by_hand(case: Case) -> None:
    """In the middle and at both ends, a cut equals PEFT with its own switches."""
    model, tokens = case.model(), case.tokens()
    ends = ((0.0,) * case.layers, (1.0,) * case.layers)
    for strengths in (case.cut, *ends):
        with apply_boundary(model, keep=list(strengths)):
            computed = logits(model, tokens)
        assert torch.equal(computed, logits(by_hand(case, strengths), tokens))
    with apply_boundary(model, -1):
        assert torch.equal(logits(model, tokens), logits(case.base(), tokens))
    assert torch.equal(logits(model, tokens), logits(case.model(), tokens))


def any_way_leads_to_the_same_cut(drawn: Several) -> None:
    """Whatever cuts came before, a cut is the same, and the whole adapter comes back."""
    case, steps = drawn
    model, tokens = case.model(), case.tokens()
    cut = LoraCut(model)
    for strengths in steps:
        cut.move(Cut(strengths))
    cut.move(as_keep(case))
    assert torch.equal(logits(model, tokens), logits(by_hand(case), tokens))
    cut.move(case.layers - 1)
    assert torch.equal(logits(model, tokens), logits(case.model(), tokens))


def below_the_first_dropped_layer_nothing_changes(case: Case) -> None:
    """The input of every layer up to the first changed one is that of the whole adapter."""
    changed = next((i for i, s in enumerate(case.cut) if s != 1), case.layers)
    tokens = case.tokens()

    @torch.no_grad()
    def states(model: Any) -> tuple[torch.Tensor, ...]:
        return model(input_ids=tokens, output_hidden_states=True).hidden_states

    model = case.model()
    whole = states(model)
    with apply_boundary(model, keep=list(case.cut)):
        cut = states(model)
    # the last entry has the final norm behind it, and is the output of the last layer
    for layer in range(min(changed, case.layers - 1) + 1):
        assert torch.equal(cut[layer], whole[layer])
    if changed == case.layers:
        assert torch.equal(cut[-1], whole[-1])


def load(base: Path, adapter: Path) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return peft.PeftModel.from_pretrained(model, adapter).eval()


def exports_equal_the_cut(drawn: Several) -> None:
    """An exported cut, loaded by PEFT alone, is the cut; a cut of it drops the layers of both."""
    case, (second,) = drawn
    tokens = case.tokens()
    both = tuple(a * b for a, b in zip(case.cut, second, strict=True))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, adapter = case.save(folder)
        options: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
        if not case.keeps_modules(case.cut):
            with pytest.raises(LoraBoundaryError, match=r"boundary|keep|nothing"):
                export(str(base), adapter, None, folder / "one", keep=list(case.cut), **options)
            return
        export(str(base), adapter, None, folder / "one", keep=list(case.cut), **options)
        expected = logits(by_hand(case), tokens)
        assert torch.equal(logits(load(base, folder / "one"), tokens), expected)
        if case.keeps_modules(both):
            one = folder / "one"
            export(str(base), one, None, folder / "both", keep=list(second), **options)
            expected = logits(by_hand(case, both), tokens)
            assert torch.equal(logits(load(base, folder / "both"), tokens), expected)


@torch.no_grad()
def one_pass_equals_a_pass_per_cut(drawn: Several) -> None:
    """The shared forward gives what PEFT gives under each cut by itself."""
    case, others = drawn
    cuts = [case.cut, *others]
    cut, tokens = LoraCut(case.model()), case.tokens(texts=3)
    base = cut.model.get_base_model()
    forked = ForkedModel(list(base.get_submodule(cut.stack.path)), cuts)
    places = torch.cartesian_prod(torch.arange(3), torch.arange(tokens.shape[1]))
    with forked.forking():
        texts = Texts(SplitModel(base), forked, torch.zeros((3, 0), dtype=torch.long))
        ours = texts.read(tokens, torch.ones_like(tokens), places)
    for states, strengths in zip(ours, cuts, strict=True):
        model = SplitModel(by_hand(case, strengths).get_base_model())
        expected = model.hidden(tokens, torch.ones_like(tokens)).flatten(0, 1)
        torch.testing.assert_close(states, expected, rtol=TOLERANCE, atol=TOLERANCE)


test_equals_peft_by_hand = few(cases())(equals_peft_by_hand)
test_equals_peft_by_hand_often = many(cases())(equals_peft_by_hand)

test_any_way_leads_to_the_same_cut = few(MIXED)(any_way_leads_to_the_same_cut)
test_any_way_leads_to_the_same_cut_often = many(MIXED)(any_way_leads_to_the_same_cut)

test_below_nothing_changes = few(cases())(below_the_first_dropped_layer_nothing_changes)
test_below_nothing_changes_often = many(cases())(below_the_first_dropped_layer_nothing_changes)

test_exports_equal_the_cut = few(TWICE, examples=6)(exports_equal_the_cut)
test_exports_equal_the_cut_often = many(TWICE, examples=100)(exports_equal_the_cut)

test_one_pass_equals_a_pass_per_cut = few(SHARED)(one_pass_equals_a_pass_per_cut)
test_one_pass_equals_a_pass_per_cut_often = many(SHARED)(one_pass_equals_a_pass_per_cut)
