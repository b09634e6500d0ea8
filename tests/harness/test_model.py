"""``LoraBoundaryLM`` against lm-eval's ``hf`` and against PEFT used directly."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import peft
import pytest
import safetensors.torch
import torch
from lm_eval.models.huggingface import HFLM
from model_helpers import TOKENS, logits, make, requests
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from tiny_models import (
    LAYERS,
    VOCABULARY,
    disable_above,
    tiny_model,
)

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.upstream.lm_eval import request


@pytest.fixture(scope="module")
def llama(tiny: Any) -> tuple[Path, Path]:
    return tiny()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "gemma2", "mixtral"])
def test_whole_adapter_and_base_model_are_bit_identical_to_hf(tiny: Any, architecture: str) -> None:
    base, adapter = tiny(architecture)
    whole = logits(make(base, adapter, HFLM))
    bare = logits(make(base, None, HFLM))
    assert not torch.equal(whole, bare)
    assert torch.equal(logits(make(base, adapter)), whole)
    assert torch.equal(logits(make(base, adapter, boundary=LAYERS - 1)), whole)
    assert torch.equal(logits(make(base, adapter, boundary=-1)), bare)
    assert torch.equal(logits(make(base)), bare)


@pytest.mark.parametrize("boundary", range(-1, LAYERS))
def test_bit_identical_to_peft_used_directly(llama: tuple[Path, Path], boundary: int) -> None:
    base, adapter = llama
    by_hand = make(base, adapter, HFLM)
    disable_above(by_hand.model, boundary)
    ours = make(base, adapter, boundary=boundary)
    assert torch.equal(logits(ours), logits(by_hand))
    generation = requests("generate_until")
    answers = ours.generate_until(generation, disable_tqdm=True)
    assert answers == by_hand.generate_until(generation, disable_tqdm=True)
    assert any(answers)


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("settings", [{}, {"logits_cache": False}, {"max_length": 12}], ids=str)
def test_scores_equal_hf(tiny: Any, architecture: str, kind: str, settings: Any) -> None:
    """Within 1e-5 on sums of log-probabilities: the head's matrix product has another shape."""
    base, adapter = tiny(architecture)
    theirs = getattr(make(base, adapter, HFLM, **settings), kind)(requests(kind))
    ours = getattr(make(base, adapter, **settings), kind)(requests(kind))
    if kind == "loglikelihood":
        assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    assert scores(ours) == pytest.approx(scores(theirs), abs=1e-5)


def scores(answers: list[Any]) -> list[float]:
    """Return the log-likelihoods; in 0.5, answers for whole texts are pairs too."""
    return [answer[0] if isinstance(answer, tuple) else answer for answer in answers]


def test_scoring_computes_logits_only_where_scored(llama: tuple[Path, Path]) -> None:
    lm = make(*llama, batch_size=64)
    seen = []
    lm.model.get_output_embeddings().register_forward_hook(lambda m, i, o: seen.append(o.shape))
    lm.loglikelihood(
        [
            request("loglikelihood", ("w1 w2 w3 w4", " w5 w6"), 0),
            request("loglikelihood", ("w1 w2 w3 w4 w9 w8", " w5"), 1),
        ],
        disable_tqdm=True,
    )
    assert seen == [(1, 3, VOCABULARY)]


def test_answers_reach_the_cache_hook(llama: tuple[Path, Path]) -> None:
    lm = make(*llama)
    cached: dict[Any, Any] = {}
    lm.cache_hook.dbdict = {}
    lm.cache_hook.add_partial = lambda kind, key, value: cached.__setitem__((kind, key), value)
    answers = lm.loglikelihood(requests("loglikelihood"), disable_tqdm=True)
    assert [cached["loglikelihood", r.args] for r in requests("loglikelihood")] == answers


@pytest.mark.slow
def test_automatic_batch_size(llama: tuple[Path, Path]) -> None:
    automatic = make(*llama, batch_size="auto", max_batch_size=4)
    fixed = make(*llama)
    for kind in ("loglikelihood", "generate_until", "loglikelihood_rolling"):
        ours = getattr(automatic, kind)(requests(kind), disable_tqdm=True)
        theirs = getattr(fixed, kind)(requests(kind), disable_tqdm=True)
        if kind != "generate_until":
            ours, theirs = (torch.tensor(x).flatten().tolist() for x in (ours, theirs))
            theirs = pytest.approx(theirs, abs=1e-5)
        assert ours == theirs


def test_a_loaded_model_can_be_passed(llama: tuple[Path, Path]) -> None:
    base, adapter = llama
    tokenizer = make(base).tokenizer
    lm = LoraBoundaryLM(tiny_model(), peft=str(adapter), boundary=2, tokenizer=tokenizer)
    assert torch.equal(logits(lm), logits(make(base, adapter, boundary=2)))


@pytest.mark.parametrize("boundary", [0, 2, LAYERS - 1])
def test_merge(llama: tuple[Path, Path], boundary: int) -> None:
    base, adapter = llama
    merged = make(base, adapter, boundary=boundary, merge=True)
    assert not any(isinstance(module, BaseTunerLayer) for module in merged.model.modules())
    assert not any("lora" in name for name in merged.model.state_dict())
    expected = peft.PeftModel.from_pretrained(tiny_model(), adapter)
    disable_above(expected, boundary)
    for module in expected.modules():
        if isinstance(module, LoraLayer) and module.disable_adapters:
            module.delete_adapter("default")  # nothing to merge
    by_hand = expected.merge_and_unload()
    assert torch.equal(logits(merged), by_hand(TOKENS).logits)
    info = merged.get_model_info()
    assert (info["merge"], info["boundary"]) == (True, boundary)


def test_facts_are_logged_and_reported(llama: tuple[Path, Path], caplog: Any) -> None:
    base, adapter = llama
    logging.getLogger("lm_eval").propagate = True
    with caplog.at_level(logging.INFO, logger="lm_eval"):
        lm = make(base, adapter, boundary=1)
    lines = [r.getMessage() for r in caplog.records if r.name == "lm_eval.lora_boundary"]
    assert lines == [lm.signature]
    tensors = safetensors.torch.load_file(adapter / "adapter_model.safetensors")
    low = sum(t.numel() for name, t in tensors.items() if int(name.split(".")[4]) <= 1)
    high = sum(t.numel() for t in tensors.values()) - low
    info = lm.get_model_info()
    modules = 7  # linear modules of a layer
    assert info["boundary"] == 1
    assert info["num_layers"] == LAYERS
    assert (info["kept_modules"], info["dropped_modules"]) == (2 * modules, 2 * modules)
    assert (info["kept_parameters"], info["dropped_parameters"]) == (low, high)
    assert info["adapter_sha256"] == open_adapter(adapter).sha256
    assert info["merge"] is False
    for part in ("boundary 1 of 4", f"{low:,}", f"{high:,}", "float32", "merge=False", "peft="):
        assert part in lm.signature
    assert info["adapter_sha256"][:12] in lm.signature
