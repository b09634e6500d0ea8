"""The shared forward, compared with one pass per boundary on every architecture that can fork."""

from __future__ import annotations

import inspect
from typing import Any

import peft
import pytest
import torch
from tiny_models import ARCHITECTURES, LAYERS, lora_config, randomise, tiny_model, tiny_tokenizer

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.errors import ModelError
from lm_eval_lora_boundary.forward import prefill
from lm_eval_lora_boundary.forward.generate import write_responses
from lm_eval_lora_boundary.forward.kv_cache import GrowingLayer, growing_cache
from lm_eval_lora_boundary.forward.prefill import Branches
from lm_eval_lora_boundary.forward.requests import Generate
from lm_eval_lora_boundary.forward.routing import ForkedModel
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.harness.endings import Ending

# OPT flattens the rows before its feed-forward modules, and PEFT cannot tell them apart
FORKABLE = [name for name in ARCHITECTURES if name != "opt"]
DOCUMENTS = 3
# Batches of other sizes round fp32 sums differently.
TOLERANCE = 2e-5


def cut_model(architecture: str) -> LoraCut:
    config = {"target_parameters": None} if architecture == "mixtral" else {}
    model = peft.get_peft_model(tiny_model(architecture), lora_config(architecture, **config))
    return LoraCut(randomise(model).eval())


def decoder_layers(cut: LoraCut) -> list[torch.nn.Module]:
    return list(cut.model.get_base_model().get_submodule(cut.stack.path))


def prompts(shared: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return left-padded prompts of mixed lengths and their mask, both of shape (batch, seq).

    All begin with the same ``shared`` tokens.
    """
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(4, 60, (DOCUMENTS, 9), generator=generator)
    mask = torch.ones_like(tokens)
    mask[1, :3] = 0
    mask[2, :6] = 0
    for padding, row in zip((3, 6), tokens[1:], strict=True):
        row[padding : padding + shared] = tokens[0, :shared]
    return tokens * mask, mask


def positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


@pytest.mark.parametrize(
    "boundaries", [list(range(-1, LAYERS)), [0, 2], [1], [-1, LAYERS - 1], [2, 3]], ids=str
)
@pytest.mark.parametrize("architecture", FORKABLE)
@torch.no_grad()
def test_one_pass_equals_one_pass_per_boundary(architecture: str, boundaries: list[int]) -> None:
    cut = cut_model(architecture)
    tokens, mask = prompts()
    inputs = {"attention_mask": mask, "position_ids": positions(mask)}
    forked = ForkedModel(decoder_layers(cut), boundaries)
    with forked.forking(DOCUMENTS):
        logits = cut.model(tokens, **inputs).logits
    assert len(logits) == DOCUMENTS * len(boundaries)
    for boundary, block in zip(forked.boundaries, forked.blocks(LAYERS), strict=True):
        cut.move(boundary)
        expected = cut.model(tokens, **inputs).logits
        cut.move(LAYERS - 1)
        ours = logits[block * DOCUMENTS : (block + 1) * DOCUMENTS]
        torch.testing.assert_close(
            ours[mask.bool()], expected[mask.bool()], rtol=TOLERANCE, atol=TOLERANCE
        )


@torch.no_grad()
def generate(
    cut: LoraCut, boundaries: list[int], ending: Ending, *, shared: int = 0
) -> dict[int, list[list[int]]]:
    tokens, mask = prompts(shared)
    forked = ForkedModel(decoder_layers(cut), boundaries)
    model = SplitModel(cut.model.get_base_model())
    rows = [row[real.bool()].tolist() for row, real in zip(tokens, mask, strict=True)]
    requests = [Generate(tuple(row), (), ending.limit, "{}", "", "") for row in rows]
    prefix = Branches(model, forked, torch.zeros((1, 0), dtype=torch.long))
    if shared:
        ones = torch.ones((1, shared), dtype=torch.long)
        prefix.read(torch.tensor([rows[0][:shared]]), ones, torch.empty((0, 2), dtype=torch.long))
    written = write_responses(model, forked, prefix, shared, requests, ending)
    return dict(zip(forked.boundaries, written, strict=True))


@pytest.mark.parametrize("shared", [0, 2])
@pytest.mark.parametrize("architecture", FORKABLE)
@torch.no_grad()
def test_decoding_equals_generate_at_each_boundary(architecture: str, shared: int) -> None:
    cut = cut_model(architecture)
    tokens, mask = prompts(shared)
    ending = Ending(frozenset({2}), (), 12, None)
    responses = generate(cut, list(range(-1, LAYERS)), ending, shared=shared)
    for boundary in range(-1, LAYERS):
        cut.move(boundary)
        written = cut.model.generate(
            input_ids=tokens,
            attention_mask=mask,
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=2,
            pad_token_id=0,
        )[:, tokens.shape[1] :].tolist()
        cut.move(LAYERS - 1)
        for ours, theirs in zip(responses[boundary], written, strict=True):
            assert ours == theirs[: len(ours)]
            assert ours[-1] == 2 or len(ours) == 12


@pytest.mark.parametrize("architecture", FORKABLE)
@torch.no_grad()
def test_documents_of_different_lengths_are_read_apart(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results are the same, with padding of later tokens on the left or on the right."""
    cut = cut_model(architecture)
    forked = ForkedModel(decoder_layers(cut), [-1, 1, 2])
    model = SplitModel(cut.model.get_base_model())
    tokens, mask = prompts()
    places = torch.cartesian_prod(torch.arange(DOCUMENTS), torch.tensor([6, 7, 8]))
    runs = []
    for apart in (False, True):
        monkeypatch.setattr(prefill, "_FEW", 0)
        monkeypatch.setattr(prefill, "_COPIED", 10**6 if apart else 0)
        branch = Branches(model, forked, torch.zeros((DOCUMENTS, 0), dtype=torch.long))
        # layers with a sliding window are never taken apart
        ordinary = all(isinstance(layer, GrowingLayer) for layer in branch.cache.layers)
        assert (len(branch._groups(mask)) > 1) == (apart and ordinary)
        states = [branch.read(tokens, mask, places)]
        right = mask.flip(1)
        where = torch.tensor([[2, 0], [0, 8], [1, 5]])
        states.append(branch.read(tokens.flip(1), right, where))
        assert branch.mask.tolist() == torch.cat([mask, right], dim=1).tolist()
        one = torch.ones((DOCUMENTS, 1), dtype=torch.long)
        states.append(branch.read(tokens[:, :1] + 1, one, torch.tensor([[0, 0], [1, 0], [2, 0]])))
        runs.append(states)
    for together, apart_ in zip(*runs, strict=True):
        torch.testing.assert_close(apart_, together, rtol=TOLERANCE, atol=TOLERANCE)


def test_groups_hold_little_padding() -> None:
    def groups(lengths: list[int], past: int = 0) -> list[list[int]]:
        mask = torch.zeros((len(lengths), max(lengths)), dtype=torch.long)
        for row, length in zip(mask, lengths, strict=True):
            row[:length] = 1
        cut = cut_model("llama")
        forked = ForkedModel(decoder_layers(cut), [-1, LAYERS - 1])
        model = SplitModel(cut.model.get_base_model())
        before = torch.ones((len(lengths), past), dtype=torch.long)
        return Branches(model, forked, before)._groups(mask)

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


def rename_cache(decoder: Any, name: str) -> None:
    """Rename the cache argument of a decoder, as a model's own code may."""
    forward = decoder.forward
    accepted = inspect.signature(forward).parameters
    real = next(argument for argument in ("cache", "past_key_values") if argument in accepted)
    arguments = ("input_ids", "attention_mask", "position_ids", "use_cache", name)
    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature([inspect.Parameter(a, keyword) for a in arguments])

    def renamed(**inputs: Any) -> Any:
        signature.bind_partial(**inputs)  # a TypeError if it has no such argument
        return forward(**{real if k == name else k: value for k, value in inputs.items()})

    renamed.__signature__ = signature  # type: ignore[attr-defined]
    decoder.forward = renamed


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
@torch.no_grad()
def test_the_cache_is_passed_under_the_decoders_own_name(name: str) -> None:
    model = tiny_model()
    tokens, mask = torch.arange(4, 12).reshape(2, 4), torch.ones((2, 4), dtype=torch.long)
    whole = SplitModel(model).hidden(tokens, mask)
    rename_cache(model.model, name)
    split = SplitModel(model)
    cache = growing_cache(model.config)
    parts = [
        split.hidden(tokens[:, :3], mask[:, :3], cache),
        split.hidden(tokens[:, 3:], mask, cache),
    ]
    assert cache.get_seq_length() == 4
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=TOLERANCE, atol=TOLERANCE)


def test_a_decoder_without_a_cache_is_refused() -> None:
    model = tiny_model()
    rename_cache(model.model, "memory")
    with pytest.raises(ModelError, match=r"takes no cache; expected .*cache or past_key_values"):
        SplitModel(model)
