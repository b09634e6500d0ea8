"""Drafts from other responses: what they guess, what they are said to save, and when they pay."""

from __future__ import annotations

import os
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from sweep_helpers import separately, sweep_lm
from tiny_models import LAYERS, lora_config, randomise, tiny_model

from lm_eval_lora_boundary.cuts.cut import LoraCut
from lm_eval_lora_boundary.forward import fork
from lm_eval_lora_boundary.forward.drafting import (
    WIDTH,
    Costs,
    Draft,
    Stopwatch,
    agreement,
    steps_per_token,
)
from lm_eval_lora_boundary.forward.fork import grouped_attention
from lm_eval_lora_boundary.forward.generate import Drafts, Responses
from lm_eval_lora_boundary.forward.prefill import Branches
from lm_eval_lora_boundary.forward.requests import Generate
from lm_eval_lora_boundary.forward.routing import ForkedModel
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.harness.endings import Ending
from lm_eval_lora_boundary.sweeps.store import AnswerStore

CPU = torch.device("cpu")
Tiny = Callable[..., tuple[Path, Path]]
Texts = st.lists(st.integers(0, 5), max_size=30)


def test_a_draft_goes_on_as_another_response_that_began_alike() -> None:
    draft = Draft([[1, 2, 3, 4, 5, 6], [1, 2, 9, 8]])
    assert draft.guess([1, 2], 3) == [3, 4, 5]
    assert draft.guess([1, 2, 9], 3) == [8]


def test_after_a_difference_the_place_is_found_again() -> None:
    draft = Draft([[1, 2, 3, 4, 5, 6, 7, 8]])
    assert draft.guess([1, 2, 30, 31], 3) == []
    assert draft.guess([1, 2, 30, 31, 5, 6], 3) == [7, 8]
    # of several places the nearest
    assert Draft([[4, 5, 1, 0, 0, 4, 5, 2]]).guess([9, 9, 9, 9, 9, 4, 5], 1) == [2]


@given(Texts.filter(len), st.lists(Texts, max_size=2), st.integers(0, 4))
def test_a_guess_is_a_piece_of_another_response(
    written: list[int], others: list[list[int]], most: int
) -> None:
    guess = Draft(others).guess(written, most)
    assert len(guess) <= most
    pieces = [other[i : i + len(guess)] for other in others for i in range(len(other))]
    assert not guess or guess in pieces


@given(Texts.filter(lambda text: len(text) > 1), st.integers(2, 7))
def test_the_same_response_everywhere_takes_the_fewest_steps(text: list[int], count: int) -> None:
    assert agreement([[text] * count]) == 1
    assert steps_per_token([[text] * count]) == ceil((len(text) - 1) / WIDTH) / (len(text) - 1)


def test_responses_that_have_nothing_in_common_take_a_step_per_token() -> None:
    batch = [[list(range(20)), list(range(30, 50)), list(range(60, 80))]]
    assert steps_per_token(batch) == 1
    assert agreement(batch) == 0
    assert steps_per_token([]) == steps_per_token([[[], []]]) == 1


@pytest.mark.parametrize("fewer", [(120, 80, 20, 3), ()], ids=["some end early", "none does"])
@given(fixed=st.floats(0, 50), each=st.floats(0.1, 5), documents=st.integers(1, 8))
def test_costs_follow_from_the_time_of_passes(
    fewer: tuple[int, ...], fixed: float, each: float, documents: int
) -> None:
    """A pass that takes ``fixed + each × tokens`` seconds."""
    watch = Stopwatch()
    watch.read(100, 100 * 7.0)
    for rows in (160, 160, 160, *fewer):
        watch.step(rows, 1, fixed + each * rows)
    watch.step(160, WIDTH, fixed + each * 160 * WIDTH)
    costs = watch.costs(documents)
    assert costs is not None
    step = fixed + each * 160
    assert costs.reading == pytest.approx(7 / step)
    assert costs.whole == pytest.approx((fixed + each * documents) / step)
    assert costs.half == pytest.approx((fixed + each * 80) / step)
    assert costs.wide == pytest.approx((fixed + each * 160 * WIDTH) / step)


def test_too_little_was_seen() -> None:
    watch = Stopwatch()
    assert watch.costs(2) is None
    watch.step(8, 1, 1.0)
    watch.step(8, WIDTH, 1.0)
    assert watch.costs(2) is None
    watch.read(3, 1.0)
    assert watch.costs(2) is not None


def test_what_drafts_cost() -> None:
    dear = Costs(reading=0.5, whole=0.05, half=0.5, wide=4.0)  # four tokens cost what four steps do
    cheap = Costs(reading=0.1, whole=0.05, half=0.6, wide=1.1)  # memory sets the pace
    assert dear.with_whole(0.8) == pytest.approx(0.75)
    assert dear.with_whole(0.5) == pytest.approx(1.05)
    assert cheap.with_whole(0.25) == pytest.approx(0.9)
    assert dear.with_neighbours(1 / WIDTH) == pytest.approx(1.0)
    assert cheap.with_neighbours(0.4) == pytest.approx(0.864)
    assert cheap.with_neighbours(0.9) == pytest.approx(1.194)


@torch.no_grad()
def test_drafts_save_steps() -> None:
    model = peft.get_peft_model(tiny_model("llama"), lora_config("llama"))
    cut = LoraCut(randomise(model, scale=1e-4).eval())  # boundaries answer alike
    boundaries = list(range(-1, LAYERS))
    split = SplitModel(cut.model.get_base_model())
    forked = ForkedModel(cut.model, cut.stack, boundaries)
    requests = [Generate((5, 6, 7), (), 41, "{}", "", ""), Generate((9, 8), (), 41, "{}", "", "")]
    ending = Ending(frozenset(), (), 41, None)
    rows: list[int] = []
    handle = split.decoder.register_forward_pre_hook(
        lambda _, __, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True
    )

    def passes(drafts: Drafts) -> tuple[Any, int]:
        rows.clear()
        prefix = Branches(split, forked, torch.zeros((1, 0), dtype=torch.long))
        answers = Responses(split, forked, drafts).answer(prefix, 0, requests, ending)
        return answers, sum(rows)

    plain, without = passes(Drafts())
    assert without == 2 + 40 * 2 * len(boundaries)
    for drafts in (Drafts(whole=0.4), Drafts(neighbours=True), Drafts(0.4, neighbours=True)):
        answers, taken = passes(drafts)
        assert answers == plain
        assert taken < 0.8 * without
    handle.remove()


def writing(count: int) -> list[Instance]:
    arguments = {"until": ["w9 w9"], "max_gen_toks": 24}
    return [
        Instance("generate_until", {}, (f"w5 w6 w{i} w{2 * i}", arguments), i, metadata=("t", i, 1))
        for i in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("worth", [0.0, 100.0])
def test_a_sweep_measures_and_switches_by_itself(
    worth: float, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork, "WORTH", worth)  # never; always
    base, adapter = tiny()
    used: list[Drafts] = []
    known = Responses.__init__

    def noting(self: Any, model: Any, forked: Any, drafts: Drafts, watch: Any) -> None:
        used.append(drafts)
        known(self, model, forked, drafts, watch)

    monkeypatch.setattr(Responses, "__init__", noting)
    boundaries = list(range(-1, LAYERS))
    work = writing(5)
    with AnswerStore(tmp_path) as store:
        lm = sweep_lm(base, adapter, store, boundaries=boundaries, rows=10, engine="fork")
        used.clear()  # of the try-out
        lm.at(0)
        assert lm.generate_until(work) == separately(base, adapter, 0, work)
        assert [each.neighbours for each in used] == [False, worth > 0, worth > 0]
        assert [each.whole is not None for each in used] == [False, worth > 0, worth > 0]
        measured = lm.answering._engines.engine(_request()).measured
        assert measured is not None
        # most is gone; a run that is taken up again does as the first one did
        store._connection.execute(
            "DELETE FROM answers WHERE request NOT IN (SELECT request FROM answers LIMIT 5)"
        )
    with AnswerStore(tmp_path) as store:
        again = sweep_lm(base, adapter, store, boundaries=boundaries, rows=10, engine="fork")
        again.at(0)
        assert again.generate_until(work) == separately(base, adapter, 0, work)
        assert again.answering._engines.engine(_request()).measured == measured


def _request() -> Generate:
    return Generate((1,), (), 1, "{}", "", "")


def test_attention_that_copies_nothing_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, with a mask and several new tokens."""
    model = tiny_model("llama").eval()
    config = model.config
    assert config.num_key_value_heads < config.num_attention_heads
    tokens = torch.randint(4, 60, (3, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(tokens)
    mask[1, :3] = 0
    with torch.no_grad():
        expected = model(tokens, attention_mask=mask).logits
        with grouped_attention(CPU):
            assert os.environ["TRANSFORMERS_SDPA_FORCE_GQA"] == "1"
            ours = model(tokens, attention_mask=mask).logits
    assert torch.equal(ours[mask.bool()], expected[mask.bool()])
    assert "TRANSFORMERS_SDPA_FORCE_GQA" not in os.environ
    with grouped_attention(torch.device("cuda")):  # where a mask would lead to a slow kernel
        assert "TRANSFORMERS_SDPA_FORCE_GQA" not in os.environ
    monkeypatch.setenv("TRANSFORMERS_SDPA_FORCE_GQA", "0")
    with grouped_attention(CPU):
        assert os.environ["TRANSFORMERS_SDPA_FORCE_GQA"] == "0"
