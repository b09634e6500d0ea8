"""What running a decoder shows about padding and about its layers' arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fork_helpers import cut_model, generate, prompts
from tiny_models import LAYERS, tiny_model

from lm_eval_lora_boundary.cuts.keep import as_cut
from lm_eval_lora_boundary.cuts.layers import find_decoder_stack
from lm_eval_lora_boundary.errors import ModelError
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.forward.trials import (
    goes_on,
    items_per_text,
    missing_ability,
    refuse_hidden_states,
    skips_padding,
)
from lm_eval_lora_boundary.harness.endings import Ending

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("architecture", "skips"),
    [
        ("llama", True),
        ("gpt2", True),
        ("bloom", True),  # its biases follow the mask
        ("mpt", False),  # its biases count columns
        ("lfm2", False),  # its convolutions see padding
        ("bamba", False),
        ("qwen3_next", False),
    ],
)
def test_padding_inside_texts_is_noticed(architecture: str, skips: bool) -> None:
    assert skips_padding(SplitModel(tiny_model(architecture)), CPU) == skips


@pytest.mark.parametrize(
    ("architecture", "goes"),
    [("llama", True), ("mpt", True), ("bamba", True), ("qwen3_next", True), ("jamba", False)],
)
def test_a_state_that_is_forgotten_is_noticed(architecture: str, goes: bool) -> None:
    assert goes_on(SplitModel(tiny_model(architecture)), CPU) == goes


def test_arguments_with_several_items_per_text_are_noticed() -> None:
    """BLOOM has a bias for each text and head; MPT has one for each head, whatever the texts."""
    found: dict[str, Any] = {}
    for architecture in ("bloom", "mpt", "llama"):
        cut = cut_model(architecture)
        layers = cut.model.get_base_model().get_submodule(cut.stack.path)
        model = SplitModel(cut.model.get_base_model())
        found[architecture] = items_per_text(model, layers[0], CPU)
    assert found["bloom"]["alibi"] == 4 and found["bloom"]["attention_mask"] == 1
    assert found["mpt"]["position_bias"] == 0 and found["mpt"]["attention_mask"] == 1
    assert found["llama"]["attention_mask"] == found["llama"]["position_ids"] == 1


def test_states_outside_of_the_cache_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("bamba")
    mixer = model.model.layers[0].mamba
    forward = mixer.forward
    mixer.forward = lambda *args, **kwargs: forward(*args, **(kwargs | {"cache_params": None}))
    with pytest.raises(ModelError, match="keeps the state of layer 0 in its modules and not in"):
        refuse_hidden_states(SplitModel(model), CPU)


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("llama", ""),
        ("gpt2", ""),
        ("bamba", ""),
        ("minimax", "works only with a cache that it makes itself"),
        ("mamba", "cannot read several tokens after what is in its cache"),
        ("gpt_bigcode", "returns a row for each text"),
    ],
)
def test_what_a_decoder_cannot_do_is_said_in_words(architecture: str, reason: str) -> None:
    model = tiny_model(architecture)
    last = list(model.get_submodule(find_decoder_stack(model).path))[-1]
    found = missing_ability(SplitModel(model), last, CPU)
    assert (reason in found) if reason else not found


@pytest.mark.parametrize("architecture", ["bloom", "mpt", "falcon_h1", "qwen3_next"])
@torch.no_grad()
def test_a_few_cuts_write_what_generate_writes(architecture: str) -> None:
    cut = cut_model(architecture)
    tokens, mask = prompts(2)
    cuts: list[int | str] = [-1, 1, "0+3", "all@0.5"]
    responses = generate(cut, cuts, Ending(frozenset({2}), (), 6, None), shared=2)
    settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": 2, "pad_token_id": 0}
    for each in cuts:
        cut.move(as_cut(each, LAYERS))
        written = cut.model.generate(input_ids=tokens, attention_mask=mask, **settings)
        cut.move(LAYERS - 1)
        for ours, theirs in zip(responses[each], written[:, tokens.shape[1] :], strict=True):
            assert ours == theirs[: len(ours)].tolist()
