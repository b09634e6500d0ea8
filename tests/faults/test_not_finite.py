"""A NaN or infinite logit is an error that says where it is, and never a value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from model_helpers import make
from tiny_models import save_adapter, tiny_model, tiny_tokenizer
from tiny_tasks import COMMON, words, write_rows

from lm_eval_lora_boundary import trace
from lm_eval_lora_boundary.errors import ModelError, NotFiniteError
from lm_eval_lora_boundary.forward.loglikelihood import log_softmax
from lm_eval_lora_boundary.forward.score import impossible
from lm_eval_lora_boundary.upstream.lm_eval import request

Run = Callable[..., dict[str, Any]]
BAD = "w37"  # its embedding is the fault; the trial of the engines does not use it
WRONG = 2  # the document that has it
KINDS = {
    "written": "output_type: generate_until\ngeneration_kwargs: {until: [], max_gen_toks: 4}\n"
    "metric_list: [{metric: exact_match}]",
    "scored": "output_type: loglikelihood\nmetric_list: [{metric: acc}]",
    "rolled": "output_type: loglikelihood_rolling\nmetric_list: [{metric: word_perplexity}]",
}


@pytest.fixture(scope="module", params=[torch.nan, pytest.param(torch.inf, marks=pytest.mark.slow)])
def broken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a base model and an adapter that cannot read one token."""
    folder = tmp_path_factory.mktemp("broken")
    model, tokenizer = tiny_model(), tiny_tokenizer()
    with torch.no_grad():
        model.model.embed_tokens.weight[tokenizer.convert_tokens_to_ids(BAD)] = request.param
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    save_adapter(folder / "adapter", model)
    return folder


@pytest.fixture(scope="module")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nan")
    rows = [{"question": words(4, i), "answer": words(2, i + 1)} for i in range(5)]
    assert BAD not in str(rows)
    rows[WRONG] = {"question": f"w1 {BAD} w2", "answer": "w3 w5"}
    for split in ("train", "validation", "test"):
        write_rows(folder / f"{split}.jsonl", rows)
    common = COMMON.format(folder=folder).replace('"{{answer}}"', '" {{answer}}"')
    for name, kind in KINDS.items():
        own = common.replace('" {{answer}}"', '"{{question}}"') if name == "rolled" else common
        text = "" if name == "rolled" else "{{question}}"
        (folder / f"{name}.yaml").write_text(f'task: {name}\n{own}\ndoc_to_text: "{text}"\n{kind}')
    return folder


@pytest.mark.usefixtures("fast_tasks")
@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize("engine", ["fork", "toggle"])
def test_a_sweep_names_document_and_cut(run: Run, broken: Path, task: str, engine: str) -> None:
    with pytest.raises(
        ModelError, match=rf"^{task}, document {WRONG}: the logits under \S+.* are NaN or infinite"
    ):
        run(
            task,
            pretrained=broken / "base",
            peft=broken / "adapter",
            engine=engine,
            boundaries=[1],
        )


@pytest.mark.usefixtures("fast_tasks")
def test_a_trace_names_document_and_layer(broken: Path, task_folder: Path, tmp_path: Path) -> None:
    settings: Any = {"include_path": str(task_folder), "dtype": "float32", "device": "cpu"}
    with pytest.raises(ModelError, match=rf"^scored: document {WRONG}: .* read out at layer 0 "):
        trace(str(broken / "base"), str(broken / "adapter"), "scored", tmp_path / "out", **settings)


@pytest.mark.parametrize("kind", ["generate_until", "loglikelihood", "loglikelihood_rolling"])
def test_lm_eval_names_the_request(broken: Path, kind: str) -> None:
    lm = make(broken / "base", broken / "adapter", boundary=1)
    arguments: dict[str, Any] = {
        "generate_until": {"until": [], "max_gen_toks": 1},
        "loglikelihood": " w3 w5",
    }
    rest = (arguments[kind],) if kind in arguments else ()
    good, bad = (
        request(kind, (text, *rest), i) for i, text in enumerate(("w1 w2 w6", f"w1 {BAD} w2"))
    )
    assert len(getattr(lm, kind)([good, good])) == 2
    with pytest.raises(ModelError, match=rf"the request that ends with '.*{BAD} w2.*NaN or inf"):
        getattr(lm, kind)([good, bad])


def test_only_infinite_logits_make_a_token_impossible() -> None:
    half = torch.tensor([[6e4, -6e4, 0.0]], dtype=torch.float16)
    rounded = log_softmax(half, torch.float16)[0, 1:]
    assert rounded.tolist() == [-torch.inf, -6e4]  # a rounding of -120,000
    assert not impossible(rounded, half[0, 1:]).any()
    masked = torch.tensor([[0.0, -torch.inf, 0.0]])
    found = log_softmax(masked, None)[0]
    assert impossible(found, masked[0]).tolist() == [False, True, False]
    assert found[[0, 2]].isfinite().all()  # the others are right: the model rules the token out
    for wrong in (torch.nan, torch.inf):
        spoilt = torch.tensor([[0.0, wrong, 1.0]])
        assert log_softmax(spoilt, None).isnan().all()


def test_the_error_survives_the_way_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(NotFiniteError((1, 2), (3,), "keep=0-1")))
    assert (error.context, error.continuation, error.cut) == ((1, 2), (3,), "keep=0-1")
    assert "NaN or infinite" in str(error)
