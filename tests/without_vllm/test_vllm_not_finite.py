"""A NaN that vLLM writes on after is an error that names request and cut; a stand-in answers."""

from __future__ import annotations

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
from lm_eval_lora_boundary.errors import NotFiniteError
from lm_eval_lora_boundary.forward.requests import Generate
from lm_eval_lora_boundary.harness.settings import EvaluationSettings
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
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    spoilt = [name for name in tensors if "layers.2." in name and "lora_B" in name]
    for name in spoilt:
        tensors[name] = tensors[name] * 1e38
    assert spoilt and all(bool(tensors[name].isfinite().all()) for name in spoilt)
    save_file(tensors, file, metadata={"format": "pt"})
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
