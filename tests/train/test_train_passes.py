"""A faster way to compute an optimizer step, compared with TRL's own."""

from __future__ import annotations

import copy
import math
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import peft
import pytest
import torch
import trl
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.models.huggingface import HFLM
from tiny_models import tiny_model

from lm_eval_lora_boundary.harness.prompts import Row
from lm_eval_lora_boundary.train.data import Rows
from lm_eval_lora_boundary.train.loop import make_trainer
from lm_eval_lora_boundary.train.model import add_lora
from lm_eval_lora_boundary.train.settings import TrainSettings
from lm_eval_lora_boundary.train.trainer import passes

Seen = dict[int, Counter[tuple[int, ...]]]


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=16),
    rows=st.integers(1, 8),
    tokens=st.none() | st.integers(1, 60),
)
def test_every_row_is_in_one_pass(lengths: list[int], rows: int, tokens: int | None) -> None:
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    numbers = torch.arange(1, len(lengths) + 1)[:, None] * mask  # a row is full of its number
    found, before = [], math.inf
    for part in passes({"attention_mask": mask, "input_ids": numbers}, rows, tokens):
        size, width = part["input_ids"].shape
        own = part["attention_mask"].sum(dim=1)
        assert size <= rows
        assert size == 1 or tokens is None or size * width <= tokens
        assert own.max() == width  # no column of padding alone
        assert own.max() <= before  # sorted
        before = own.min()
        assert torch.equal(part["input_ids"].ne(0).long(), part["attention_mask"])
        found += [
            (int(row[0]), int(length)) for row, length in zip(part["input_ids"], own, strict=True)
        ]
    assert sorted(found) == list(enumerate(lengths, start=1))


def random_rows(count: int) -> Rows:
    """Return rows of many lengths, with prompts of many lengths."""
    random = np.random.default_rng(0)
    rows = Rows()
    for length in random.integers(5, 40, count):
        tokens = random.integers(3, 300, length).astype(np.int32)
        rows.rows.append(Row(tokens, int(random.integers(1, length - 1)), False))
    return rows


def run(trainer: trl.SFTTrainer, monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], Seen]:
    """Train, and return the loss of every step, and the rows that each has seen."""
    seen: Seen = defaultdict(Counter)
    original = trl.SFTTrainer.training_step

    def step(self: Any, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
            seen[self.state.global_step][tuple(ids[mask.bool()].tolist())] += 1
        return original(self, model, inputs, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(trl.SFTTrainer, "training_step", step)
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], seen


# heads that scale logits or soft-cap them, positions of every kind, states, and experts
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma2": {"final_logit_softcapping": 0.5},
    "cohere": {},
    "granite": {},
    "gpt2": dict.fromkeys(["attn_pdrop", "embd_pdrop", "resid_pdrop"], 0.0),
    "mpt": {},
    "bamba": {},
    "mixtral": {"router_aux_loss_coef": 0.5},
}


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_run_is_that_of_trl(
    settings: TrainSettings,
    lm: HFLM,
    architecture: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same rows in every step, the same losses, and the same adapter.

    Sums in another order differ by rounding. AdamW divides a gradient by its own size, so where
    it is almost zero, rounding can move a parameter by a small part of the learning rate.
    """
    rows = random_rows(22)
    mixture = architecture == "mixtral"
    given = replace(
        settings,
        batch_size=8,
        # one pass: how evenly experts are used is a mean over passes, whatever is in each
        micro_batch_size=8 if mixture else 2,
        target_modules=("q_proj", "o_proj") if mixture else ("all-linear",),
        **{"dropout": 0.0, "lr": 1e-3, "seed": 7},
    )
    base = tiny_model(architecture, vocab_size=320, **FAMILIES[architecture])
    models = [add_lora(base, given)]
    models.append(copy.deepcopy(models[0]))
    before = adapter(copy.deepcopy(models[0]))
    host: Any = SimpleNamespace(model=base, device=torch.device("cpu"), tokenizer=lm.tokenizer)
    ours = make_trainer(models[0], host, rows, given, tmp_path / "ours")
    arguments = copy.copy(ours.args)
    arguments.per_device_train_batch_size = given.micro
    arguments.gradient_accumulation_steps = given.batch_size // given.micro
    plain = trl.SFTTrainer(
        model=models[1],
        args=arguments,
        train_dataset=rows.dataset(),
        processing_class=lm.tokenizer,
    )
    losses, seen = run(ours, monkeypatch)
    expected, seen_by_plain = run(plain, monkeypatch)
    assert seen == seen_by_plain
    assert len(seen) == len(losses) == 6  # of 8, 8 and 6 rows, twice
    assert losses == pytest.approx(expected, rel=1e-5)
    found, wanted = adapter(models[0]), adapter(models[1])
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=given.lr / 50)
        assert (tensor - before[name]).abs().max() > given.lr


def adapter(model: peft.PeftModel) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = peft.get_peft_model_state_dict(model)
    return state


def test_bfloat16_differs_by_its_rounding_only(
    settings: TrainSettings, lm: HFLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss in bfloat16, whose numbers have 8 bits, is that in float32 to a hundredth."""
    rows = random_rows(22)
    losses = []
    for dtype in ("float32", "bfloat16"):
        given = replace(settings, batch_size=8, dropout=0.0, lr=1e-3, dtype=dtype)
        base = tiny_model(vocab_size=320)
        host: Any = SimpleNamespace(model=base, device=torch.device("cpu"), tokenizer=lm.tokenizer)
        torch.manual_seed(0)
        trainer = make_trainer(add_lora(base, given), host, rows, given, tmp_path / dtype)
        losses.append(run(trainer, monkeypatch)[0])
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    assert losses[0] != losses[1]


def test_very_many_logits_are_left_to_trl(
    settings: TrainSettings, lm: HFLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = replace(settings, dropout=0.0)
    rows = random_rows(4)
    trainer = make_trainer(add_lora(lm.model, given), lm, rows, given, tmp_path)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    asked = []
    original = trl.SFTTrainer.compute_loss

    def compute_loss(self: Any, *arguments: Any) -> Any:
        asked.append(self)
        return original(self, *arguments)

    monkeypatch.setattr(trl.SFTTrainer, "compute_loss", compute_loss)
    ours = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(99))
    assert not asked
    monkeypatch.setattr("lm_eval_lora_boundary.train.trainer._MOST_LOGITS", 0)
    theirs = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(99))
    assert asked == [trainer]
    torch.testing.assert_close(ours, theirs)
