"""The shared forward against one boundary after another, on every architecture that allows it."""

from __future__ import annotations

import peft
import pytest
import torch
from tiny_models import ARCHITECTURES, LAYERS, lora_config, randomise, tiny_model
from transformers import DynamicCache

from lm_eval_lora_boundary.adapter import LoraCut
from lm_eval_lora_boundary.sweep.decoding import Ending, Rows, decode_greedily, select_rows
from lm_eval_lora_boundary.sweep.fork import ForkedModel

# OPT hands its feed-forward modules flattened rows, which PEFT cannot tell apart
FORKABLE = [name for name in ARCHITECTURES if name != "opt"]
DOCUMENTS = 3
# the same products in batches of other sizes: rounding of fp32 sums only
TOLERANCE = 2e-5


def cut_model(architecture: str) -> LoraCut:
    config = {"target_parameters": None} if architecture == "mixtral" else {}
    model = peft.get_peft_model(tiny_model(architecture), lora_config(architecture, **config))
    return LoraCut(randomise(model).eval())


def prompts() -> tuple[torch.Tensor, torch.Tensor]:
    """Left-padded prompts of mixed lengths, and their attention mask, shape (batch, seq)."""
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(4, 60, (DOCUMENTS, 9), generator=generator)
    mask = torch.ones_like(tokens)
    mask[1, :3] = 0
    mask[2, :6] = 0
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
    forked = ForkedModel(cut.model, cut.stack, boundaries)
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
def generate(cut: LoraCut, boundaries: list[int], ending: Ending) -> dict[int, list[list[int]]]:
    """Fork over the prompts, bring the cache to one row each, decode under routing."""
    tokens, mask = prompts()
    forked = ForkedModel(cut.model, cut.stack, boundaries)
    cache = DynamicCache(config=cut.model.config)
    with forked.forking(DOCUMENTS):
        logits = cut.model(
            tokens,
            attention_mask=mask,
            position_ids=positions(mask),
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
    index = [
        torch.cat([block * DOCUMENTS + torch.arange(DOCUMENTS) for block in forked.blocks(layer)])
        for layer in range(LAYERS + 1)
    ]
    select_rows(cache, index[:LAYERS])
    rows = Rows(
        [boundary for boundary in forked.boundaries for _ in range(DOCUMENTS)],
        cache,
        mask.repeat(len(boundaries), 1),
        logits[index[LAYERS]],
    )
    responses = decode_greedily(cut.model, forked, rows, ending)
    return {
        boundary: responses[i * DOCUMENTS : (i + 1) * DOCUMENTS]
        for i, boundary in enumerate(forked.boundaries)
    }


@pytest.mark.parametrize("architecture", FORKABLE)
@torch.no_grad()
def test_decoding_equals_generate_at_each_boundary(architecture: str) -> None:
    cut = cut_model(architecture)
    tokens, mask = prompts()
    ending = Ending(frozenset({2}), (), 12, lambda ids: " ".join(map(str, ids)))
    responses = generate(cut, list(range(-1, LAYERS)), ending)
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


def test_a_string_ends_a_response() -> None:
    cut = cut_model("llama")

    def text(ids: list[int]) -> str:
        return "".join(f"<{i}>" for i in ids)

    long = generate(cut, [-1, 1, 3], Ending(frozenset(), (), 10, text))
    stop = text(long[1][0][4:6])
    short = generate(cut, [-1, 1, 3], Ending(frozenset(), (stop,), 10, text))
    for boundary, rows in long.items():
        for whole, ended in zip(rows, short[boundary], strict=True):
            assert ended == whole[: len(ended)]
            cut_here = text(whole).find(stop)
            assert text(ended).endswith(stop) if cut_here >= 0 else len(ended) == 10
