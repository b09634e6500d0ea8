"""Gradients of several documents at once, with little memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from gradient_helpers import GOLD, Tiny, load

from lm_eval_lora_boundary.errors import ModelError
from lm_eval_lora_boundary.forward.loglikelihood import Batch
from lm_eval_lora_boundary.traces import gates, gradient
from lm_eval_lora_boundary.traces.gold import Gold
from lm_eval_lora_boundary.traces.gradient import STRENGTHS, Differentiator
from lm_eval_lora_boundary.traces.lm import TraceLM


@pytest.mark.parametrize("architecture", ["llama", "opt", "gpt2"])
def test_documents_in_a_batch_have_the_gradients_that_each_has_alone(
    architecture: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPT's feed-forward layers see the tokens of a batch in one long row."""
    sizes: list[int] = []
    at = Differentiator._at

    def note(self: Differentiator, documents: Sequence[Gold], strength: float) -> Any:
        sizes.append(len(documents))
        return at(self, documents, strength)

    monkeypatch.setattr(Differentiator, "_at", note)
    differentiator = Differentiator(load(tiny(architecture)))
    differentiator.check(GOLD)
    sizes.clear()
    together = differentiator.read(GOLD, rows=3)
    assert sizes == [3] * len(STRENGTHS)
    alone = differentiator.read(GOLD, rows=1)
    for one, other in zip(together, alone, strict=True):
        assert one.derivative == pytest.approx(other.derivative, rel=1e-5, abs=1e-6)
        assert one.logprob == pytest.approx(other.logprob, abs=1e-6)


def test_experts_get_a_batch_for_each_document(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    differentiator = Differentiator(load(tiny("mixtral"), "float32"))
    read: list[int] = []
    logprobs = gradient.gold_logprobs

    def note(lm: TraceLM, batch: Batch, gold: torch.Tensor) -> torch.Tensor:
        read.append(len(batch.inputs))
        return logprobs(lm, batch, gold)

    monkeypatch.setattr(gradient, "gold_logprobs", note)
    differentiator.check(GOLD)
    found = differentiator.read(GOLD, rows=3)
    assert set(read) == {1} and len(found) == 3


def test_a_model_that_mixes_the_rows_of_a_batch_is_noticed(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the gates of the rows are in the wrong order, as if a layer had turned them around."""
    differentiator = Differentiator(load(tiny()))
    factor = gates._as_factor
    monkeypatch.setattr(gates, "_as_factor", lambda gate, *rest: factor(gate.flip(0), *rest))
    differentiator.check(GOLD)
    mixed = differentiator.read(GOLD)
    monkeypatch.undo()
    for one, other in zip(mixed, Differentiator(load(tiny())).read(GOLD, rows=1), strict=True):
        assert one.derivative == pytest.approx(other.derivative, rel=1e-9)


def test_layers_that_show_their_rows_in_another_way_get_one_document_each(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in a later batch is no different from one in the check."""
    differentiator = Differentiator(load(tiny()))
    differentiator.check(GOLD)
    expected = differentiator.read(GOLD, rows=1)
    factor = gates._as_factor

    def refuse(gate: torch.Tensor, *rest: Any) -> torch.Tensor:
        if len(gate) > 1:
            raise gates.InseparableError
        return factor(gate, *rest)

    monkeypatch.setattr(gates, "_as_factor", refuse)
    for one, other in zip(differentiator.read(GOLD, rows=3), expected, strict=True):
        assert (one.derivative == other.derivative).all()


def test_checkpoints_change_no_number(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    differentiator = Differentiator(load(tiny()))
    found = differentiator.read(GOLD)
    monkeypatch.setattr(gradient, "checkpointed", lambda layers: nullcontext())
    for one, other in zip(found, differentiator.read(GOLD), strict=True):
        assert (one.derivative == other.derivative).all()


def test_checkpoints_keep_little_for_the_backward_pass(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    differentiator = Differentiator(load(tiny()))
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    def no_backward(value: torch.Tensor, by: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.zeros_like(by),)

    def after_forward() -> int:
        """Return how many numbers the forward pass keeps."""
        nonlocal kept
        kept = 0
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            differentiator._at(GOLD, 1.0)
        return kept

    monkeypatch.setattr(torch.autograd, "grad", no_backward)
    checkpoints = after_forward()
    monkeypatch.setattr(gradient, "checkpointed", lambda layers: nullcontext())
    assert 0 < checkpoints < after_forward() / 5


def test_fewer_documents_at_once_if_memory_runs_out(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    differentiator = Differentiator(load(tiny()))
    expected = differentiator.read(GOLD, rows=1)
    grad = torch.autograd.grad
    room = 2

    def limited(value: torch.Tensor, by: torch.Tensor) -> Any:
        if by.shape[1] > room:
            raise RuntimeError("CUDA out of memory.")
        return grad(value, by)

    monkeypatch.setattr(torch.autograd, "grad", limited)
    done: list[int] = []
    found = differentiator.read(GOLD, rows=3, done=done.append)
    assert sum(done) == 3 and len(done) > 1
    for one, other in zip(found, expected, strict=True):
        assert one.derivative == pytest.approx(other.derivative, rel=1e-5, abs=1e-6)
    room = 0
    with pytest.raises(ModelError, match="out of memory with a single document"):
        differentiator.read(GOLD)
