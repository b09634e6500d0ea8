"""Activated LoRA: what PEFT does outside the layers, in the forward pass of its own model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from lm_eval.api.instance import Instance
from model_helpers import make, requests
from sweep_helpers import answering
from tiny_models import (
    LAYERS,
    cut_by_hand,
    lora_config,
    randomise,
    save_adapter,
    tiny_model,
    tiny_tokenizer,
)

from lm_eval_lora_boundary import apply_boundary, export
from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.loading import load_adapter
from lm_eval_lora_boundary.errors import AdapterError, ModelError
from lm_eval_lora_boundary.sweeps.store import AnswerStore
from lm_eval_lora_boundary.traces.gold import Gold
from lm_eval_lora_boundary.traces.lm import TraceLM
from lm_eval_lora_boundary.traces.reader import Reader
from lm_eval_lora_boundary.upstream.lm_eval import request

EVERY = range(-1, LAYERS)
INVOCATION = [7, 8]  # w3 w4
Tiny = Callable[..., tuple[Path, Path]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with closing(AnswerStore(tmp_path / "store")) as store:
        yield store


def score(model: Any, context: list[int], rest: list[int]) -> float:
    """Score one sequence, unpadded."""
    with torch.no_grad():
        logits = model(torch.tensor([[*context, *rest][:-1]])).logits[0]
    rows = torch.log_softmax(logits, dim=-1)[-len(rest) :]
    return float(rows.gather(1, torch.tensor(rest).unsqueeze(1)).sum())


def write(model: Any, prompt: list[int], count: int) -> list[int]:
    """Continue one prompt greedily, unpadded."""
    with torch.no_grad():
        output = model.generate(
            input_ids=torch.tensor([prompt]), max_new_tokens=count, do_sample=False, pad_token_id=0
        )
    return output[0, len(prompt) :].tolist()


def tokens(request: Instance) -> tuple[list[int], list[int]]:
    context, rest = (tiny_tokenizer().encode(text) for text in request.args)
    return context or [1], rest


def check_scores(ours: list[tuple[float, bool]], adapter: Path, boundary: int) -> None:
    model = cut_by_hand(adapter, boundary)
    expected = [score(model, *tokens(request)) for request in requests("loglikelihood")]
    assert [logprob for logprob, _ in ours] == pytest.approx(expected, abs=1e-4)


def check_texts(ours: list[str], adapter: Path, boundary: int) -> None:
    model, tokenizer = cut_by_hand(adapter, boundary), tiny_tokenizer()
    for text, asked in zip(ours, generations(), strict=True):
        expected = write(model, tokenizer.encode(asked.args[0]), 8)
        assert text == tokenizer.decode(expected, skip_special_tokens=True)


def generations() -> list[Instance]:
    """Return prompts of several lengths, with the sequence never, once or twice."""
    texts = ["w9 w3 w4 w11 w12", "w20 w21", "w3 w4", "w3 w4 w9 w8 w7 w6 w3 w4 w5", "w4 w9", "w3 w9"]
    arguments = {"until": [], "max_gen_toks": 8}
    return [request("generate_until", (text, arguments), i) for i, text in enumerate(texts)]


# the second and third lie in the padding, wholly or in part
@pytest.mark.parametrize("sequence", [INVOCATION, [0, 8], [7, 0], [0], [6]], ids=str)
def test_every_boundary_equals_peft(tiny: Tiny, sequence: list[int]) -> None:
    base, adapter = tiny(alora_invocation_tokens=sequence)
    for boundary in EVERY:
        lm = make(base, adapter, boundary=boundary, batch_size=6)
        check_scores(lm.loglikelihood(requests("loglikelihood")), adapter, boundary)
        check_texts(lm.generate_until(generations()), adapter, boundary)


@pytest.mark.parametrize("sequence", [INVOCATION, [0, 8], [7, 0]], ids=str)
def test_a_sweep_equals_peft(tiny: Tiny, store: AnswerStore, sequence: list[int]) -> None:
    base, adapter = tiny(alora_invocation_tokens=sequence)
    sweep = answering(base, adapter, store, cuts=EVERY)
    assert sweep.engines.name == "toggle"
    assert "ALoraLinearVariant" in sweep.engines.reason
    scores, texts = [], []
    for boundary in EVERY:
        scores.append(sweep.at(boundary, requests("loglikelihood")))
        texts.append(sweep.at(boundary, generations()))
        check_scores(scores[-1], adapter, boundary)
        check_texts(texts[-1], adapter, boundary)
    if sequence == INVOCATION:
        assert all(a != b for a, b in itertools.pairwise(scores))
        assert texts[0] != texts[-1]


@pytest.mark.parametrize("sequence", [INVOCATION, [7, 0]], ids=str)
def test_a_trace_equals_peft(tiny: Tiny, sequence: list[int]) -> None:
    base, adapter = tiny(alora_invocation_tokens=sequence)
    lm = TraceLM(str(base), peft=str(adapter), device="cpu", dtype="float32")
    pairs = [([9, *sequence, 11, 12], [5, 6]), ([9, 7], [8]), ([20] * 7, [11, 12, 13])]
    documents = [Gold(i, "", context, answer) for i, (context, answer) in enumerate(pairs)]
    reader = Reader(lm)
    reader.check(documents)
    for boundary in EVERY:
        with lm.cut:
            lm.cut.move(boundary)
            readings = reader.read(documents, 3)
        model = cut_by_hand(adapter, boundary)
        ours = [float(reading.logprob[-1].sum()) for reading in readings]
        assert ours == pytest.approx([score(model, *pair) for pair in pairs], abs=1e-4)


def test_a_sweep_that_differs_from_peft_is_refused(
    tiny: Tiny, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engines that run only the model inside PEFT's agree with each other, and are all wrong."""
    base, adapter = tiny(alora_invocation_tokens=INVOCATION)
    call = peft.PeftModelForCausalLM.__call__

    def inside(self: Any, *args: Any, **kwargs: Any) -> Any:
        ordinary = args == ()  # `hf` passes its tokens by position
        return call(self, **kwargs) if ordinary else self.get_base_model()(*args, **kwargs)

    monkeypatch.setattr(peft.PeftModelForCausalLM, "__call__", inside)
    with pytest.raises(ModelError, match=r"cannot be swept .* PEFT's own model"):
        answering(base, adapter, store, cuts=EVERY)
    # other adapters do not need PEFT's model
    answering(*tiny(), store, cuts=EVERY)


def test_a_trace_that_differs_from_peft_is_refused(tiny: Tiny) -> None:
    base, adapter = tiny(alora_invocation_tokens=INVOCATION)
    lm = TraceLM(str(base), peft=str(adapter), device="cpu", dtype="float32")
    lm._model = lm.cut.model.get_base_model()
    documents = [Gold(0, "", [9, *INVOCATION, 11], [5, 6])]
    with pytest.raises(ModelError, match=r"cannot be traced .* PEFT's own model"):
        Reader(lm).check(documents)


def test_adapters_on_the_head(tmp_path: Path, tiny: Tiny, store: AnswerStore) -> None:
    """The head must see whole texts, and a trace shows it single states."""
    base, _ = tiny()
    config = lora_config(alora_invocation_tokens=INVOCATION, target_modules=["lm_head", "q_proj"])
    trained = randomise(peft.get_peft_model(tiny_model(), config))
    trained.save_pretrained(tmp_path / "head", save_embedding_layers=False)
    sweep = answering(base, tmp_path / "head", store, cuts=EVERY)
    for boundary in EVERY:
        check_scores(sweep.at(boundary, requests("loglikelihood")), tmp_path / "head", boundary)
        one = make(base, tmp_path / "head", boundary=boundary, batch_size=6)
        check_scores(one.loglikelihood(requests("loglikelihood")), tmp_path / "head", boundary)
    traced = TraceLM(str(base), peft=str(tmp_path / "head"), device="cpu", dtype="float32")
    with pytest.raises(AdapterError, match=r"output head .* cannot be traced"):
        Reader(traced)


def test_apply_boundary(tiny: Tiny) -> None:
    _, adapter = tiny(alora_invocation_tokens=INVOCATION)
    model = peft.PeftModel.from_pretrained(tiny_model(), adapter).eval()
    inputs = torch.tensor([[9, *INVOCATION, 11, 12]])
    for boundary in EVERY:
        with torch.no_grad(), apply_boundary(model, boundary):
            assert torch.equal(model(inputs).logits, cut_by_hand(adapter, boundary)(inputs).logits)


def test_an_exported_adapter_is_activated_and_merging_is_refused(
    tiny: Tiny, tmp_path: Path
) -> None:
    base, adapter = tiny(alora_invocation_tokens=INVOCATION)
    export(str(base), adapter, 1, tmp_path / "out", device="cpu", dtype="float32")
    exported = peft.PeftModel.from_pretrained(tiny_model(), tmp_path / "out").eval()
    inputs = torch.tensor([[9, *INVOCATION, 11, 12]])
    with torch.no_grad():
        logits = exported(inputs).logits
        assert torch.equal(logits, cut_by_hand(adapter, 1)(inputs).logits)
        assert not torch.equal(logits, tiny_model()(inputs).logits)
    for merging in (
        lambda: export(str(base), adapter, 1, tmp_path / "merged", merge=True, device="cpu"),
        lambda: make(base, adapter, boundary=1, merge=True),
    ):
        with pytest.raises(AdapterError, match=r"cannot be merged.*aLoRA"):
            merging()


@pytest.mark.filterwarnings("ignore:aLoRA is currently only supported:UserWarning")
@pytest.mark.parametrize("task", [None, "FEATURE_EXTRACTION"])
def test_adapters_that_peft_never_activates_are_refused(
    tiny: Tiny, tmp_path: Path, task: str | None
) -> None:
    base, _ = tiny()
    adapter = save_adapter(tmp_path / "adapter", tiny_model(), alora_invocation_tokens=INVOCATION)
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"task_type": task}))
    with pytest.raises(AdapterError, match=r"never activates .* task_type CAUSAL_LM"):
        make(base, adapter, boundary=1)


def test_architectures_that_peft_does_not_support_are_refused(tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model(
        "mpt", d_model=32, n_heads=4, n_layers=4, max_seq_len=64, vocab_size=64
    )
    base = transformers.AutoModelForCausalLM.from_config(config)
    adapter = save_adapter(tmp_path, base, alora_invocation_tokens=INVOCATION)
    fresh = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(AdapterError, match=r"never activates this adapter .* in MptForCausalLM"):
        load_adapter(fresh, open_adapter(adapter), lowest_dropped=2)


def test_tokens_of_another_vocabulary_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    adapter = save_adapter(tmp_path, tiny_model(), alora_invocation_tokens=[7, 64])
    with pytest.raises(AdapterError, match=r"\[7, 64\] are not all tokens of this base model"):
        make(tiny()[0], adapter, boundary=1)


@pytest.mark.parametrize("argument", ["num_beams", "num_return_sequences"])
def test_several_responses_at_once_are_refused(tiny: Tiny, argument: str) -> None:
    base, adapter = tiny(alora_invocation_tokens=INVOCATION)
    arguments = {"until": [], "max_gen_toks": 4, argument: 2}
    prompts = [request("generate_until", ("w3 w4", arguments), 0)]
    with pytest.raises(AdapterError, match=f"{argument}=2 does not work"):
        make(base, adapter, boundary=1).generate_until(prompts)
