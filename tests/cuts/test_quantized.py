"""Adapters on quantized base models, for each backend that is installed.

CONTRIBUTING.md says how to install the backends; without them these tests are skipped.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from adapter_kinds import layer_of
from model_helpers import TOKENS, make, requests
from model_helpers import logits as lm_logits
from peft.tuners.tuners_utils import BaseTunerLayer
from quantized_models import BACKENDS, ROUNDS_INPUTS, write_quantized
from sweep_helpers import answering, close
from tiny_models import LAYERS

from lm_eval_lora_boundary import export
from lm_eval_lora_boundary.errors import AdapterError, ModelError
from lm_eval_lora_boundary.sweeps.store import AnswerStore

pytestmark = pytest.mark.filterwarnings("ignore")  # the backends' own


@dataclass
class Quantized:
    """A quantized base model in memory and on disk, and an adapter for it."""

    model: Any
    base: Path
    adapter: Path
    rounds_inputs: bool


@pytest.fixture(scope="module", params=BACKENDS)
def quantized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    backend = BACKENDS[request.param]
    if not backend.installed:
        pytest.skip(f"pip install {backend.package} -c constraints.txt")
    found = write_quantized(tmp_path_factory.mktemp(backend.package), backend)
    return Quantized(*found, request.param in ROUNDS_INPUTS)


def load(base: Path) -> Any:
    auto = transformers.AutoModelForCausalLM
    return auto.from_pretrained(base, dtype=torch.float32, device_map="cpu").eval()


def by_hand(given: Quantized, boundary: int) -> torch.Tensor:
    """Return logits of PEFT with its own switch off above the boundary."""
    model = peft.PeftModel.from_pretrained(load(given.base), given.adapter).eval()
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            module.enable_adapters(layer_of(name) <= boundary)
    with torch.no_grad():
        return model(TOKENS).logits


def test_every_boundary_equals_peft_by_hand(quantized: Quantized) -> None:
    outputs = []
    for boundary in (-1, 1, LAYERS - 1):
        lm = make(quantized.base, quantized.adapter, boundary=boundary)
        outputs.append(lm_logits(lm))
        assert torch.equal(outputs[-1], by_hand(quantized, boundary))
    with torch.no_grad():
        assert torch.equal(outputs[0], load(quantized.base)(TOKENS).logits)
    assert not torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[1], outputs[2])


def test_merging_is_refused_in_one_line(quantized: Quantized) -> None:
    """PEFT rounds the sum to 4 or 8 bits, or leaves the adapter out without a word."""
    with pytest.raises(AdapterError, match="is quantized, and merging would round") as refused:
        make(quantized.base, quantized.adapter, boundary=1, merge=True)
    assert "\n" not in str(refused.value)


def test_engines_agree(quantized: Quantized, tmp_path: Path) -> None:
    asked = requests("loglikelihood")[:6]
    cuts = [-1, 1, LAYERS - 1]
    if quantized.rounds_inputs:  # so scores depend on the other texts in a batch
        with pytest.raises(ModelError, match=r"cannot be swept .* but PEFT's own model gives"):
            answering(quantized.base, quantized.adapter, AnswerStore(tmp_path), cuts=cuts)
        return
    found = {}
    for engine in ("fork", "toggle"):
        store = AnswerStore(tmp_path / engine)
        swept = answering(quantized.base, quantized.adapter, store, cuts=cuts, engine=engine)
        found[engine] = [swept.at(cut, asked) for cut in cuts]
        store.close()
    for ours, theirs in zip(found["fork"], found["toggle"], strict=True):
        assert all(close(a, b) for a, b in zip(ours, theirs, strict=True))
    assert found["toggle"][0] != found["toggle"][1] != found["toggle"][2]


def test_an_export_equals_the_cut(quantized: Quantized, tmp_path: Path) -> None:
    before = copy.deepcopy(quantized.model)
    facts = export(quantized.model, quantized.adapter, 1, tmp_path / "out", device="cpu")
    assert facts["max_difference"] == 0.0
    model = peft.PeftModel.from_pretrained(before, tmp_path / "out").eval()
    with torch.no_grad():
        # the model in memory is the one on disk, which `by_hand` loads
        assert torch.equal(model(TOKENS).logits, by_hand(quantized, 1))
