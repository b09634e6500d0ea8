"""The shared forward, compared with one pass per cut on every architecture."""

from __future__ import annotations

import peft
import pytest
import torch
from fork_helpers import (
    ANY,
    BOUNDARIES,
    DOCUMENTS,
    FAMILIES,
    TOLERANCE,
    cut_model,
    forked_model,
    generate,
    prompts,
    start,
)
from peft.tuners.lora import LoraLayer
from tiny_models import LAYERS, lora_config, randomise, tiny_model, tiny_tokenizer

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.cuts.keep import as_cut
from lm_eval_lora_boundary.errors import ModelError
from lm_eval_lora_boundary.forward import texts as texts_module
from lm_eval_lora_boundary.forward.kv_cache import GrowingLayer
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.forward.texts import Texts
from lm_eval_lora_boundary.harness.endings import Ending


@pytest.mark.parametrize(
    "cuts", [BOUNDARIES, ANY, [0, 2], [1], ["2-3"], [-1, LAYERS - 1], [2, 3]], ids=str
)
@pytest.mark.parametrize("architecture", FAMILIES)
@torch.no_grad()
def test_one_pass_equals_one_pass_per_cut(architecture: str, cuts: list[int | str]) -> None:
    cut = cut_model(architecture)
    tokens, mask = prompts()
    forked = forked_model(cut, cuts)
    everywhere = torch.cartesian_prod(torch.arange(DOCUMENTS), torch.arange(tokens.shape[1]))
    real = everywhere[mask.flatten().bool()]
    with forked.forking():
        ours = start(cut, forked, DOCUMENTS).read(tokens, mask, real)
    model = SplitModel(cut.model.get_base_model())
    for states, each in zip(ours, cuts, strict=True):
        cut.move(as_cut(each, LAYERS))
        expected = model.hidden(tokens, mask)[mask.bool()]
        torch.testing.assert_close(states, expected, rtol=TOLERANCE, atol=TOLERANCE)
    cut.move(LAYERS - 1)


@pytest.mark.parametrize("cuts", [["all"], ["all@0.7"], ["0-1@0.3+2-3"]], ids=str)
@pytest.mark.parametrize("architecture", FAMILIES)
@torch.no_grad()
def test_a_single_cut_equals_peft_bit_for_bit(architecture: str, cuts: list[str]) -> None:
    """With as many rows and tokens as in PEFT's own pass, the same operations run."""
    cut = cut_model(architecture)
    tokens, mask = prompts()
    forked = forked_model(cut, cuts)
    last = torch.tensor([[row, tokens.shape[1] - 1] for row in range(DOCUMENTS)])
    with forked.forking():
        ours = start(cut, forked, DOCUMENTS).read(tokens, mask, last)
    for layer in range(LAYERS):
        strength = as_cut(cuts[0], LAYERS).strengths[layer]
        stack = cut.model.get_base_model().get_submodule(f"{cut.stack.path}.{layer}")
        for module in stack.modules():
            if isinstance(module, LoraLayer):
                module.scale_layer(strength)
    expected = SplitModel(cut.model.get_base_model()).hidden(tokens, mask)[:, -1]
    if architecture == "mpt":  # its products with keys in a cache add up in another order
        torch.testing.assert_close(ours[0], expected, rtol=TOLERANCE, atol=TOLERANCE)
    else:
        assert torch.equal(ours[0], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@torch.no_grad()
def test_a_strength_per_row_equals_pefts_scaling(dtype: torch.dtype) -> None:
    """One layer, whose rows have different strengths, on the same input."""
    cut = cut_model("llama")
    cut.model.to(dtype)
    names = ["all", "all@0.7", "all@0.3", "all@-1.5", "none"]
    forked = forked_model(cut, names)
    texts = start(cut, forked, 1)
    layer = cut.model.get_base_model().get_submodule(f"{cut.stack.path}.0.self_attn")
    lora, inputs = layer.q_proj, torch.randn(len(names), 3, 32).to(dtype)
    forked.plan(texts.rows)
    order = [names[i] for i in texts.rows.cuts[texts.rows.layers[0].first]]
    with forked.forking():
        forked._plans[0].tokens = 3
        ours = layer.q_proj(inputs)
    for name, row, text in zip(order, ours, inputs, strict=True):
        strength = as_cut(name, LAYERS).strengths[0]
        before = dict(lora.scaling)
        lora.scale_layer(strength)
        expected = lora(text.unsqueeze(0)) if strength else lora.base_layer(text.unsqueeze(0))
        lora.scaling.update(before)
        # a product of other matrix sizes may round differently
        torch.testing.assert_close(row, expected[0])


@pytest.mark.parametrize("shared", [0, 2])
@pytest.mark.parametrize("architecture", FAMILIES)
@torch.no_grad()
def test_decoding_equals_generate_under_each_cut(architecture: str, shared: int) -> None:
    cut = cut_model(architecture)
    tokens, mask = prompts(shared)
    ending = Ending(frozenset({2}), (), 12, None)
    responses = generate(cut, ANY, ending, shared=shared)
    for each in ANY:
        cut.move(as_cut(each, LAYERS))
        written = cut.model.generate(
            input_ids=tokens,
            attention_mask=mask,
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=2,
            pad_token_id=0,
        )[:, tokens.shape[1] :].tolist()
        cut.move(LAYERS - 1)
        for ours, theirs in zip(responses[each], written, strict=True):
            assert ours == theirs[: len(ours)]
            assert ours[-1] == 2 or len(ours) == 12


@torch.no_grad()
def test_cuts_that_write_the_same_share_their_passes() -> None:
    """A weak adapter changes no token: every token takes the passes of a token of the prompt."""
    model = peft.get_peft_model(tiny_model(), lora_config(lora_alpha=1e-6))
    cut = LoraCut(randomise(model).eval())
    seen: list[int] = []
    layers = cut.model.get_base_model().get_submodule(cut.stack.path)
    for layer in layers:
        layer.mlp.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    responses = generate(cut, BOUNDARIES, Ending(frozenset(), (), 9, None))
    assert len({tuple(map(tuple, rows)) for rows in responses.values()}) == 1
    once = [DOCUMENTS * rows for rows in (2, 3, 4, 5)]
    assert seen[-8 * LAYERS :] == once * 8
    # cuts that write different texts take rows of their own
    seen.clear()
    cut = cut_model("llama")
    for layer in cut.model.get_base_model().get_submodule(cut.stack.path):
        layer.mlp.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    responses = generate(cut, BOUNDARIES, Ending(frozenset(), (), 9, None))
    ends = seen[-LAYERS:]
    distinct = [len({tuple(rows[i]) for rows in responses.values()}) for i in range(DOCUMENTS)]
    assert sum(once) < sum(ends) <= DOCUMENTS * len(BOUNDARIES) * LAYERS
    assert ends[0] >= sum(distinct)


@torch.no_grad()
def test_the_model_is_as_before_after_a_pass() -> None:
    cut = cut_model("llama")
    tokens, mask = prompts()
    before = [(name, id(module)) for name, module in cut.model.named_modules()]
    own = cut.model(tokens, attention_mask=mask).logits
    forked = forked_model(cut, ANY)
    with pytest.raises(RuntimeError, match="stop"), forked.forking():
        start(cut, forked, DOCUMENTS).read(tokens, mask, torch.tensor([[0, 8]]))
        raise RuntimeError("stop")
    assert [(name, id(module)) for name, module in cut.model.named_modules()] == before
    assert torch.equal(cut.model(tokens, attention_mask=mask).logits, own)


def test_lora_that_cannot_be_divided_is_refused() -> None:
    dora = peft.get_peft_model(tiny_model(), lora_config(use_dora=True))
    cut = LoraCut(randomise(dora).eval())
    with pytest.raises(ModelError, match="cannot be applied to some rows of a batch only"):
        forked_model(cut, BOUNDARIES)


@torch.no_grad()
def test_a_module_that_mixes_rows_is_refused() -> None:
    cut = cut_model("llama")
    forked = forked_model(cut, BOUNDARIES)
    layer = cut.model.get_base_model().get_submodule(f"{cut.stack.path}.0")
    with forked.forking():
        forked.plan(start(cut, forked, DOCUMENTS).rows)
        forked._plans[0].tokens = 3
        # e.g. the tokens that a router sends to one of its experts
        with pytest.raises(ModelError, match=r"shape \(5, 32\), in which the 6 rows of 3 tokens"):
            layer.mlp.up_proj(torch.zeros(5, 32))


@pytest.mark.parametrize("architecture", FAMILIES)
@torch.no_grad()
def test_documents_of_different_lengths_are_read_apart(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results are the same, with padding of later tokens on the left or on the right."""
    if architecture == "jamba":
        pytest.skip("it cannot go on by several tokens")
    cut = cut_model(architecture)
    forked = forked_model(cut, [-1, 1, 2, "2-3", "0@0.5+3"])
    tokens, mask = prompts()
    places = torch.cartesian_prod(torch.arange(DOCUMENTS), torch.tensor([6, 7, 8]))
    runs = []
    for apart in (False, True):
        monkeypatch.setattr(texts_module, "_FEW", 0)
        monkeypatch.setattr(texts_module, "_COPIED", 10**6 if apart else 0)
        texts = start(cut, forked, DOCUMENTS)
        # layers with a sliding window are never taken apart
        ordinary = all(isinstance(layer, GrowingLayer) for layer in texts.cache.layers)
        assert (len(texts._groups(mask)) > 1) == (apart and ordinary and texts._piecewise)
        with forked.forking():
            states = [texts.read(tokens, mask, places)]
            right = mask.flip(1)
            where = torch.tensor([[2, 0], [0, 8], [1, 5]])
            states.append(texts.read(tokens.flip(1), right, where))
            assert texts.mask.tolist() == torch.cat([mask, right], dim=1).tolist()
            one = torch.ones((DOCUMENTS, 1), dtype=torch.long)
            after = torch.tensor([[0, 0], [1, 0], [2, 0]])
            states.append(texts.read(tokens[:, :1] + 1, one, after))
        runs.append(states)
    for together, apart_ in zip(*runs, strict=True):
        torch.testing.assert_close(apart_, together, rtol=TOLERANCE, atol=TOLERANCE)


def test_groups_hold_little_padding() -> None:
    def groups(lengths: list[int], past: int = 0) -> list[list[int]]:
        mask = torch.zeros((len(lengths), max(lengths)), dtype=torch.long)
        for row, length in zip(mask, lengths, strict=True):
            row[:length] = 1
        cut = cut_model("llama")
        model = SplitModel(cut.model.get_base_model())
        before = torch.ones((len(lengths), past), dtype=torch.long)
        return Texts(model, forked_model(cut, [-1, LAYERS - 1]), before)._groups(mask)

    assert groups([300, 100, 290, 99]) == [[0, 2], [1, 3]]
    assert groups([300, 290, 280]) == [[0, 1, 2]]
    assert groups([9, 3, 5]) == [[0, 1, 2]]  # passes have a cost of their own
    assert groups([100, 100, 100, 60], past=2000) == [
        [0, 1, 2, 3]
    ]  # copying the cache would cost more


def test_a_string_ends_a_response() -> None:
    cut = cut_model("llama")
    tokenizer = tiny_tokenizer()
    text = tokenizer.decode
    long = generate(cut, [-1, 1, 3], Ending(frozenset(), (), 10, tokenizer))
    stop = text(long[1][0][4:6])
    short = generate(cut, [-1, 1, 3], Ending(frozenset(), (stop,), 10, tokenizer))
    for boundary, rows in long.items():
        for whole, ended in zip(rows, short[boundary], strict=True):
            assert ended == whole[: len(ended)]
            cut_here = text(whole).find(stop)
            assert text(ended).endswith(stop) if cut_here >= 0 else len(ended) == 10
