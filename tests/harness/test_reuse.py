"""Using a model, a cut or a cache twice either works or is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import lm_eval
import peft
import pytest
import torch
from model_helpers import TOKENS, logits, make
from tiny_models import LAYERS, lora_config, randomise, tiny_model, tiny_tokenizer

from lm_eval_lora_boundary import LoraBoundaryLM, apply_boundary
from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.cuts.loading import load_adapter
from lm_eval_lora_boundary.errors import AdapterError, LoraBoundaryError, ModelError


@pytest.fixture
def model() -> Any:
    return randomise(peft.get_peft_model(tiny_model(), lora_config())).eval()


def test_boundaries_in_any_order(model: Any) -> None:
    expected = {}
    for boundary in range(-1, LAYERS):
        with apply_boundary(copy.deepcopy(model), boundary) as cut:
            expected[boundary] = cut.model(TOKENS).logits
    for boundary in (0, 1, 3, -1, 2, 2, 3):
        cut = apply_boundary(model, boundary)
        assert cut.boundary == boundary
        assert torch.equal(model(TOKENS).logits, expected[boundary])


def test_nested_blocks(model: Any) -> None:
    outer = model(TOKENS).logits
    with apply_boundary(model, 1):
        at_1 = model(TOKENS).logits
        with apply_boundary(model, 3):
            assert torch.equal(model(TOKENS).logits, outer)
        assert torch.equal(model(TOKENS).logits, at_1)
    assert torch.equal(model(TOKENS).logits, outer)


def test_a_final_cut_is_final(model: Any) -> None:
    apply_boundary(model, 1).finish()
    with pytest.raises(AdapterError, match="is final; load the adapter again"):
        apply_boundary(model, 2)


@pytest.mark.parametrize("merge", [False, True])
def test_a_base_model_is_not_adapted_twice(tiny: Any, merge: bool) -> None:
    _, adapter = tiny()
    settings: dict[str, Any] = {"peft": str(adapter), "tokenizer": tiny_tokenizer()}
    base = tiny_model()
    LoraBoundaryLM(base, boundary=-1, **settings)  # leaves the model unchanged
    LoraBoundaryLM(base, boundary=2, merge=merge, **settings)
    with pytest.raises(ModelError, match="pass a fresh one"):
        LoraBoundaryLM(base, boundary=2, merge=merge, **settings)


def test_base_tensors_are_kept_for_the_given_boundary(tiny: Any, tmp_path: Path) -> None:
    config = lora_config(target_modules=["q_proj"], init_lora_weights="pissa")
    randomise(peft.get_peft_model(tiny_model(), config)).save_pretrained(tmp_path)
    cut = load_adapter(tiny_model(), open_adapter(tmp_path), lowest_dropped=3)
    cut.move(2)
    with pytest.raises(AdapterError, match="load the adapter again for boundary=1"):
        cut.move(1)


def test_a_response_cache_belongs_to_one_boundary(tiny: Any, tmp_path: Path) -> None:
    """lm-eval's key does not contain the model: it would return the first boundary's answers."""
    base, adapter = tiny()
    cache = str(tmp_path / "cache")

    def run(boundary: int, cache: str | None = cache) -> Any:
        lm = make(base, adapter, boundary=boundary)
        run = lm_eval.simple_evaluate(lm, tasks=["lora_boundary_demo"], limit=3, use_cache=cache)
        return [sample["resps"] for sample in run["samples"]["lora_boundary_demo"]]

    assert run(1) == run(1) == run(1, cache=None)
    with pytest.raises(LoraBoundaryError, match="answers of another model or boundary"):
        run(2)


def test_a_model_that_does_not_name_its_head(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make(*tiny())
    expected = lm._loglikelihood_tokens([(None, [4, 5], [6, 7])], disable_tqdm=True)
    monkeypatch.setattr(type(lm.model.get_base_model()), "get_output_embeddings", lambda _: None)
    assert lm._loglikelihood_tokens([(None, [4, 5], [6, 7])], disable_tqdm=True) == expected
    assert logits(lm).ndim == 3


def test_continuations_that_do_not_fit_are_refused(tiny: Any) -> None:
    lm = make(*tiny(), max_length=12)
    with pytest.raises(ModelError, match="a continuation of 20 tokens cannot be scored"):
        lm._loglikelihood_tokens([(None, [4, 5], [6] * 20)], disable_tqdm=True)
