"""Readouts equal the model's own logits at the last layer, a second implementation at others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from tiny_models import ARCHITECTURES, LAYERS, VOCABULARY, disable_above, tiny_model
from transformers import AutoModelForCausalLM

from lm_eval_lora_boundary.cuts.layers import find_decoder_stack
from lm_eval_lora_boundary.errors import ModelError
from lm_eval_lora_boundary.forward import split_model
from lm_eval_lora_boundary.forward.loglikelihood import Batch
from lm_eval_lora_boundary.traces import logit_lens as readout
from lm_eval_lora_boundary.traces import reader as reading
from lm_eval_lora_boundary.traces.gold import Gold
from lm_eval_lora_boundary.traces.lm import TraceLM
from lm_eval_lora_boundary.traces.logit_lens import LayerReadout
from lm_eval_lora_boundary.traces.reader import Reader, Reading

PAIRS = [([5, 6, 7, 8, 9], [10, 11]), ([4, 5], [6]), ([9, 8, 7, 6, 5, 4, 3], [20, 21, 22])]
GOLD = [Gold(i, "", context, answer) for i, (context, answer) in enumerate(PAIRS)]
# not among the suite's architectures: scaled and divided logits, decoders without position_ids
MORE: dict[str, dict[str, Any]] = {
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 3.0},
    "bloom": {},
    "mpt": {},
}
Tiny = Callable[..., tuple[Path, Path]]
Second = Callable[[Any, torch.Tensor], torch.Tensor]


def batch() -> Batch:
    return Batch(PAIRS, 128, torch.device("cpu"))


@torch.no_grad()
def read_out(model: Any) -> torch.Tensor:
    """Return the logits of every layer, shape (layers, scored, vocab)."""
    reader = LayerReadout(model, find_decoder_stack(model))
    states, _ = reader.states(batch())
    layers, scored, hidden = states.shape
    pieces = [logits for _, logits in reader.logits(states.view(-1, hidden))]
    return torch.cat(pieces).view(layers, scored, -1)


@pytest.fixture(params=[*ARCHITECTURES, *MORE])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, settings in MORE.items():
        monkeypatch.setitem(ARCHITECTURES, name, settings)
    return tiny_model(request.param)


def test_the_readout_of_the_last_layer_is_the_models_own_logits(model: Any) -> None:
    ours = read_out(model)
    with torch.no_grad():
        theirs = model(batch().inputs).logits
    assert ours.shape == (LAYERS, 6, VOCABULARY)
    assert torch.equal(ours[-1], theirs[batch().rows, batch().positions])
    assert not torch.allclose(ours[-2], ours[-1], atol=1e-2)


def test_the_model_is_left_as_it_was(model: Any) -> None:
    with torch.no_grad():
        before = model(batch().inputs).logits
        read_out(model)
        assert torch.equal(model(batch().inputs).logits, before)
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def soft_cap(logits: torch.Tensor, cap: float) -> torch.Tensor:
    return torch.tanh(logits / cap) * cap


# what follows the last layer, written by hand, for the states that transformers returns
BY_HAND: dict[str, Second] = {
    "llama": lambda m, h: m.lm_head(m.model.norm(h)),
    "qwen3": lambda m, h: m.lm_head(m.model.norm(h)),
    "mixtral": lambda m, h: m.lm_head(m.model.norm(h)),
    "gemma2": lambda m, h: soft_cap(m.lm_head(m.model.norm(h)), 5.0),
    "cohere": lambda m, h: m.lm_head(m.model.norm(h)) * 0.3,
    "granite": lambda m, h: m.lm_head(m.model.norm(h)) / 3.0,
    "gpt2": lambda m, h: m.lm_head(m.transformer.ln_f(h)),
    "falcon": lambda m, h: m.lm_head(m.transformer.ln_f(h)),
    "gpt_neox": lambda m, h: m.lm_head(m.gpt_neox.final_layer_norm(h)),
    "phi": lambda m, h: m.lm_head(m.model.final_layernorm(h)),
    "opt": lambda m, h: m.lm_head(m.model.decoder.project_out(m.model.decoder.final_layer_norm(h))),
}


@pytest.mark.parametrize("architecture", BY_HAND)
def test_the_readout_of_every_layer_is_norm_and_head_by_hand(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, settings in MORE.items():
        monkeypatch.setitem(ARCHITECTURES, name, settings)
    model = tiny_model(architecture)
    ours = read_out(model)
    with torch.no_grad():
        hidden = model(batch().inputs, output_hidden_states=True).hidden_states
        # the first are the embeddings, the last are normed already
        for layer, states in enumerate(hidden[1:-1]):
            theirs = BY_HAND[architecture](model, states[batch().rows, batch().positions])
            torch.testing.assert_close(ours[layer], theirs, rtol=1e-5, atol=1e-5)


def test_layers_that_return_more_than_states_are_read_out_too() -> None:
    class Chatty(torch.nn.Module):
        def __init__(self, layer: torch.nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, hidden: torch.Tensor, **kwargs: Any) -> tuple[torch.Tensor, str]:
            return self.layer(hidden, **kwargs), "and more"

    class Unpack(torch.nn.Module):
        def __init__(self, decoder_layers: torch.nn.ModuleList) -> None:
            super().__init__()
            self.given = decoder_layers

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            for layer in self.given:
                hidden, more = layer(hidden)
                assert more == "and more"
            return hidden

    plain = [torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)]
    layers = torch.nn.ModuleList(Chatty(layer) for layer in plain)

    class Model(torch.nn.Module):
        config: Any = type("C", (), {"get_text_config": lambda _, decoder: _, "vocab_size": 16})()

        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.decoder = torch.nn.Embedding(16, 8), Unpack(layers)
            self.head = torch.nn.Linear(8, 16)

        def get_input_embeddings(self) -> torch.nn.Module:
            return self.embedding

        def get_output_embeddings(self) -> torch.nn.Module:
            return self.head

        def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> Any:
            logits = self.head(self.decoder(self.embedding(input_ids)))
            return type("Output", (), {"logits": logits})()

    model = Model()
    reader = LayerReadout(model, type("S", (), {"path": "decoder.given", "count": 2})())
    inputs = Batch([([1, 2], [3])], 16, torch.device("cpu"))
    with torch.no_grad():
        states, own = reader.states(inputs)
        ((_, logits),) = reader.logits(states.view(-1, 8))
        embedded = model.embedding(torch.tensor([2]))
        expected = [model.head(plain[0](embedded)), model.head(plain[1](plain[0](embedded)))]
    torch.testing.assert_close(logits, torch.cat(expected))
    torch.testing.assert_close(own, expected[1])


def test_only_answer_positions_are_kept_and_few_logits_exist_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(split_model._LOGITS_AT_ONCE, "cpu", 5 * VOCABULARY)
    model = tiny_model("llama")
    reader = LayerReadout(model, find_decoder_stack(model))
    shapes: list[tuple[int, ...]] = []
    handle = model.lm_head.register_forward_hook(lambda *a: shapes.append(tuple(a[2].shape)))
    with torch.no_grad():
        states, own = reader.states(batch())
        assert states.shape == (LAYERS, 6, 32)  # layers × answer tokens × hidden
        assert (
            states.untyped_storage().size() == states.numel() * 4
        )  # not a view of a longer tensor
        assert own.shape == (len(PAIRS), VOCABULARY)
        pieces = [(piece, logits.shape) for piece, logits in reader.logits(states.view(-1, 32))]
    handle.remove()
    assert shapes[0] == (1, len(PAIRS), VOCABULARY)
    assert all(rows <= 5 for rows, *_ in shapes[1:])
    assert [piece.start for piece, _ in pieces] == list(range(0, LAYERS * 6, 5))
    assert sum(shape[0] for _, shape in pieces) == LAYERS * 6


@pytest.fixture
def lm(tiny: Tiny) -> TraceLM:
    base, adapter = tiny("llama")
    return TraceLM(str(base), peft=str(adapter), device="cpu", dtype="float32")


def same(ours: list[Reading], theirs: list[Reading]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(
            torch.tensor(a.logprob), torch.tensor(b.logprob), rtol=1e-5, atol=1e-5
        )
        assert a.rank.tolist() == b.rank.tolist()


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_padding_and_batches_change_nothing(
    lm: TraceLM, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [Reader(lm).read([document])[0] for document in GOLD]
    monkeypatch.setattr(reading, "_IN_CACHE", rows * VOCABULARY)
    same(Reader(lm).read(GOLD, rows), alone)
    assert [reading.rank.shape for reading in alone] == [(LAYERS, n) for n in (2, 1, 3)]


@pytest.mark.parametrize("boundary", [-1, 0, 2, LAYERS - 1])
def test_readings_equal_a_plain_softmax_at_any_boundary(
    boundary: int, lm: TraceLM, tiny: Tiny
) -> None:
    base, adapter = tiny("llama")
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    disable_above(model, boundary)
    plain = model.get_base_model().eval()
    lm.cut.move(boundary)
    for document, found in zip(GOLD, Reader(lm).read(GOLD), strict=True):
        tokens = torch.tensor([document.context + document.answer])
        with torch.no_grad():
            hidden = plain(tokens, output_hidden_states=True).hidden_states
            for layer in range(LAYERS):
                last = layer == LAYERS - 1
                states = hidden[layer + 1] if last else plain.model.norm(hidden[layer + 1])
                logits = plain.lm_head(states)[0]
                for i, token in enumerate(document.answer):
                    row = logits[len(document.context) + i - 1].double()
                    probability = float(row.softmax(dim=0)[token])
                    assert found.probability[layer, i] == pytest.approx(probability, rel=1e-4)
                    better = sum(float(x) > float(row[token]) for x in row)
                    assert found.rank[layer, i] == better


def test_batches_get_smaller_if_memory_runs_out(
    lm: TraceLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Reader(lm).read(GOLD, 1)
    sizes: list[int] = []
    states = LayerReadout.states

    def scarce(self: LayerReadout, batch: Batch) -> Any:
        sizes.append(len(batch.lengths))
        if len(batch.lengths) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return states(self, batch)

    monkeypatch.setattr(LayerReadout, "states", scarce)
    counted: list[int] = []
    same(Reader(lm).read(GOLD, 3, counted.append), expected)
    assert sizes == [3, 1, 1, 1]
    assert counted == [1, 1, 1]

    def none(self: LayerReadout, batch: Batch) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(LayerReadout, "states", none)
    with pytest.raises(ModelError, match="single document"):
        Reader(lm).read(GOLD, 3)


def test_a_model_that_does_more_after_its_layers_is_refused(
    lm: TraceLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = readout._logits

    def depends_on_the_text(model: Any, tokens: torch.Tensor) -> torch.Tensor:
        logits = forward(model, tokens)
        return logits * (1 + (tokens.sum() > 0))

    monkeypatch.setattr(readout, "_logits", depends_on_the_text)
    with pytest.raises(ModelError, match="cannot be traced"):
        Reader(lm).read(GOLD)


def test_logits_that_are_not_finite_are_refused(lm: TraceLM) -> None:
    with torch.no_grad():
        lm.model.get_base_model().model.layers[2].mlp.down_proj.base_layer.weight.fill_(torch.inf)
    with pytest.raises(ModelError, match="layer 2 are NaN or infinite"):
        Reader(lm).read(GOLD)


def test_one_reader_works_at_several_boundaries(lm: TraceLM) -> None:
    reader = Reader(lm)
    full = reader.read(GOLD)
    with lm.cut:
        lm.cut.move(1)
        cut = reader.read(GOLD)
    same(reader.read(GOLD), full)
    # up to the boundary, a cut equals the whole adapter
    for a, b in zip(cut, full, strict=True):
        torch.testing.assert_close(torch.tensor(a.logprob[:2]), torch.tensor(b.logprob[:2]))
        assert abs(a.logprob[2:] - b.logprob[2:]).min() > 1e-6
