"""A NaN that vLLM writes on after is an error that names request and cut; a stand-in answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import LAYERS, save_adapter, tiny_model, tiny_tokenizer

from lm_eval_lora_boundary.cuts.keep import parse_keep
from lm_eval_lora_boundary.errors import ModelError, NotFiniteError
from lm_eval_lora_boundary.forward.requests import Generate
from lm_eval_lora_boundary.harness.settings import EvaluationSettings
from lm_eval_lora_boundary.upstream.lm_eval import request
from lm_eval_lora_boundary.vllm.engine import Vllm
from lm_eval_lora_boundary.vllm.sweep_lm import VllmSweepLM

NEW = 4  # tokens of a response
PROMPTS = [(9, 11, 13), (20, 21), (30, 31, 32, 33)]
REQUESTS = [Generate(prompt, (), NEW, "{}", "", "") for prompt in PROMPTS]
Start = Callable[[Path, Path], Vllm]


@pytest.fixture
def start(installed: None) -> Any:
    """Return a function that makes the engine of a sweep, with the stand-in in place of vLLM."""
    import vllm

    def start(base: Path, adapter: Path) -> Vllm:
        settings = EvaluationSettings(
            pretrained=str(base), peft=str(adapter), tasks=("any",), dtype="float32"
        )
        engine = stack.enter_context(closing(Vllm(VllmSweepLM(settings))))
        arguments = {"model": str(base), "dtype": "float32", "enable_lora": True}
        engine._engine = SimpleNamespace(model=vllm.LLM(**arguments))
        engine._slots = 9
        return engine

    with ExitStack() as stack:
        yield start


def write(folder: Path, model: Any) -> tuple[Path, Path]:
    model.save_pretrained(folder / "base")
    tiny_tokenizer().save_pretrained(folder / "base")
    return folder / "base", save_adapter(folder / "adapter", model)


def greedy(model: Any, prompt: tuple[int, ...]) -> list[int]:
    """Return what a model writes, by transformers itself."""
    options = {"do_sample": False, "max_new_tokens": NEW, "pad_token_id": 0}
    written: Any = model.generate(torch.tensor([prompt]), **options)
    return list(written[0, len(prompt) :].tolist())


def overflowing(adapter: Path) -> None:
    """Make numbers of an adapter so large that they overflow in layer 2."""
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    spoilt = [name for name in tensors if "layers.2." in name and "lora_B" in name]
    for name in spoilt:
        tensors[name] = tensors[name] * 1e38
    assert spoilt and all(bool(tensors[name].isfinite().all()) for name in spoilt)
    save_file(tensors, file, metadata={"format": "pt"})


def test_without_nan_the_responses_are_those_of_each_cut(start: Start, tmp_path: Path) -> None:
    base, adapter = write(tmp_path, tiny_model())
    engine = start(base, adapter)
    cuts = [parse_keep(keep, LAYERS) for keep in ("none", "all")]
    found = engine.prepare(REQUESTS, cuts)(REQUESTS)
    plain = transformers.AutoModelForCausalLM.from_pretrained(base).eval()
    responses = [[greedy(plain, prompt)] for prompt in PROMPTS]
    adapted: Any = peft.PeftModel.from_pretrained(plain, str(adapter)).eval()
    for expected, prompt in zip(responses, PROMPTS, strict=True):
        expected.append(greedy(adapted, prompt))
    assert found == [[engine._lm.text(each, ()) for each in row] for row in responses]
    assert len({str(row) for row in responses}) == len(PROMPTS)


def test_a_cut_whose_numbers_overflow_is_named(start: Start, tmp_path: Path) -> None:
    base, adapter = write(tmp_path, tiny_model())
    overflowing(adapter)
    engine = start(base, adapter)
    sound = [parse_keep(keep, LAYERS) for keep in ("none", "0-1", "3")]
    assert all(all(row) for row in engine.prepare(REQUESTS, sound)(REQUESTS))
    cuts = [*sound, parse_keep("all", LAYERS)]
    with pytest.raises(NotFiniteError) as caught:
        engine.prepare(REQUESTS, cuts)(REQUESTS)
    error = caught.value
    assert (error.context, error.continuation) == REQUESTS[0].tokens
    assert error.cut == len(sound)


def test_a_token_in_the_middle_of_a_response_is_enough(start: Start, tmp_path: Path) -> None:
    model = tiny_model()
    responses = [greedy(model, prompt) for prompt in PROMPTS]
    request, bad = next(
        (i, token)
        for i, response in enumerate(responses)
        for token in response[:-1]  # what comes after it is read off
        if not any(token in prompt for prompt in PROMPTS)
        and not any(token in other for other in responses[:i])
    )
    with torch.no_grad():
        model.model.embed_tokens.weight[bad] = torch.nan
    engine = start(*write(tmp_path, model))
    cuts = [parse_keep("none", LAYERS)]
    with pytest.raises(NotFiniteError) as caught:
        engine.prepare(REQUESTS, cuts)(REQUESTS)
    assert (caught.value.context, caught.value.cut) == (PROMPTS[request], 0)


@pytest.fixture
def load(installed: None) -> Any:
    """Return a function that makes lm-eval's model, with the stand-in in place of vLLM."""
    from lm_eval_lora_boundary.vllm.model import LoraBoundaryVLLM

    def load(base: Path, adapter: Path, boundary: int) -> Any:
        given = {"pretrained": str(base), "peft": str(adapter), "dtype": "float32"}
        lm = LoraBoundaryVLLM(**given, boundary=boundary, batch_size=4, max_model_len=128)
        stack.callback(lm._folder.cleanup)
        return lm

    with ExitStack() as stack:
        yield load


def test_the_model_of_lm_eval_refuses_nan_and_names_the_request(
    load: Callable[[Path, Path, int], Any], tmp_path: Path
) -> None:
    base, adapter = write(tmp_path, tiny_model())
    shutil.copytree(adapter, tmp_path / "sound")
    texts = ["w0 w1 w2", "w3 w4"]
    options = {"until": ["\n"], "max_gen_toks": NEW}
    writing = [request("generate_until", (text, dict(options)), i) for i, text in enumerate(texts)]
    scoring = [request("loglikelihood", (text, " w5"), i) for i, text in enumerate(texts)]
    sound = load(base, adapter, LAYERS - 1)
    responses, scores = sound.generate_until(writing), sound.loglikelihood(scoring)
    overflowing(adapter)
    below = load(base, adapter, 1)
    assert below.generate_until(writing) and below.loglikelihood(scoring)
    spoilt = load(base, adapter, LAYERS - 1)
    with pytest.raises(ModelError, match=r"ends with 'w0 w1 w2': its logits are NaN or infinite"):
        spoilt.generate_until(writing)
    with pytest.raises(ModelError, match=r"ends with '.* w5': its logits are NaN or infinite"):
        spoilt.loglikelihood(scoring)
    # without NaN, nothing is changed
    for text, response, (score, _) in zip(texts, responses, scores, strict=True):
        prompt = tuple(sound.tok_encode(text))
        model = transformers.AutoModelForCausalLM.from_pretrained(base)
        adapted: Any = peft.PeftModel.from_pretrained(model, str(tmp_path / "sound")).eval()
        assert response == sound.tokenizer.decode(greedy(adapted, prompt)).partition("</s>")[0]
        tokens = sound.tok_encode(f"{text} w5")
        with torch.no_grad():
            logits = adapted(torch.tensor([tokens])).logits[0, -2].float()
        assert score == pytest.approx(torch.log_softmax(logits, -1)[tokens[-1]].item())
