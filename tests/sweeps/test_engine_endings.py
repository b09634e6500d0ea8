"""Responses end in every engine where they end in lm-eval's own ``hf``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ending_helpers import EOS, OTHER_EOS, Forgetful, spelling_tokenizer
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from sweep_helpers import Answering, answering
from tiny_models import LAYERS, save_adapter, tiny_model

from lm_eval_lora_boundary.errors import ModelError, TaskError
from lm_eval_lora_boundary.sweeps.store import AnswerStore
from lm_eval_lora_boundary.upstream.lm_eval import request
from lm_eval_lora_boundary.vllm.engine import Vllm

HALF_EOS = "/s"
STOPS = [
    ["", "q"],
    [""],
    [],
    ["q"],
    ["ab", "ba", "b"],
    ["bab", "ab"],
    [" "],
    ["\n", "  "],
    [" a"],
    [EOS],
    [f"a{EOS}"],
    [f"{EOS}b"],
    [HALF_EOS],
    [OTHER_EOS],
    [f"{OTHER_EOS}{OTHER_EOS}"],
    ["<|chat|>"],
    ["b<|chat|>"],
    ["never written"],
]


@pytest.fixture(scope="module", params=[2, [2, 4], None], ids=str)
def spelling(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Return a random model that writes letters, with these end-of-text tokens, and an adapter."""
    folder = tmp_path_factory.mktemp("spelling")
    model = tiny_model(eos_token_id=request.param)
    # special tokens come often
    with torch.no_grad():
        model.lm_head.weight[[2, 4, 5]] *= 1.5
    model.generation_config.eos_token_id = request.param
    model.save_pretrained(folder / "base")
    spelling_tokenizer().save_pretrained(folder / "base")
    return folder / "base", save_adapter(folder / "adapter", model)


def instances(arguments: dict[str, Any]) -> list[Instance]:
    texts = ("ab", "a b a", "qq", "b/s a", "sab ab", "  b")
    return [request("generate_until", (text, arguments), i) for i, text in enumerate(texts)]


def answers(lm: Any, arguments: dict[str, Any]) -> list[str]:
    if isinstance(lm, Answering):
        return lm.at(LAYERS - 1, instances(arguments))
    return list(lm.generate_until(instances(arguments), disable_tqdm=True))


def test_every_engine_ends_responses_as_hf_does(
    spelling: tuple[Path, Path], store: AnswerStore, tmp_path: Path
) -> None:
    base, adapter = spelling
    whole = HFLM(
        pretrained=str(base), peft=str(adapter), device="cpu", dtype="float32", batch_size=1
    )
    full = [LAYERS - 1]
    with closing(AnswerStore(tmp_path / "toggled")) as other:
        fork = answering(base, adapter, store, cuts=full, engine="fork")
        toggle = answering(base, adapter, other, cuts=full, engine="toggle")
        lengths = set()
        for until in STOPS:
            for most in (1, 16):
                arguments = {"until": until, "max_gen_toks": most}
                expected = answers(whole, arguments)
                assert answers(fork, arguments) == expected, arguments
                assert answers(toggle, arguments) == expected, arguments
                lengths |= {len(whole.tok_encode(each)) for each in expected}
    assert len(lengths) > 5  # responses ended in many places


def test_max_length_counts_each_request_alone(
    spelling: tuple[Path, Path], store: AnswerStore
) -> None:
    base, adapter = spelling
    whole = HFLM(
        pretrained=str(base), peft=str(adapter), device="cpu", dtype="float32", batch_size=1
    )
    lm = answering(base, adapter, store, cuts=[LAYERS - 1])
    arguments = {"until": ["q"], "max_gen_toks": 16, "max_length": 9}
    assert answers(lm, arguments) == answers(whole, arguments)
    with pytest.raises(TaskError, match="max_length=2 leaves no room after a prompt of"):
        answers(lm, arguments | {"max_length": 2})


def test_an_engine_that_ends_responses_elsewhere_is_not_used(
    tiny: Callable[..., tuple[Path, Path]], store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = answering(*tiny(), store, cuts=[1], engine="auto")
    lm = sweep.lm
    asking = answering(*tiny(), store, cuts=[1], engine="fork")
    for each in (lm, asking.lm):
        monkeypatch.setattr(
            each, "ending", lambda until, limit: Forgetful({2}, until, limit, lm.tokenizer)
        )
    (empty, plain) = (
        lm._as_prompt("w1 w2", {"until": until, "max_gen_toks": 4}) for until in (["", "q"], ["q"])
    )
    assert sweep.engines.engine(plain).name == "fork"
    assert sweep.engines.engine(empty).name == "toggle"
    with pytest.raises(ModelError, match="engine=fork cannot be used: a trial ended the response"):
        asking.engines.engine(empty)


def test_vllm_writes_one_token_where_the_empty_string_ends_it(
    tiny: Callable[..., tuple[Path, Path]],
    store: AnswerStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = answering(*tiny(), store, cuts=[1]).lm
    stand_in = SimpleNamespace(SamplingParams=lambda **given: given)
    monkeypatch.setitem(__import__("sys").modules, "vllm", stand_in)
    engine = Vllm(lm)  # type: ignore[arg-type]
    for until, most in ((["", "q"], 1), (["q"], 7)):
        prompt = lm._as_prompt("w1 w2", {"until": until, "max_gen_toks": 7})
        assert engine._parameters(prompt)["max_tokens"] == most
        assert engine._parameters(prompt)["stop"] == ["q", EOS]
    engine.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stop": ["w3"]}, "argument stop is unknown; .* until"),
        ({"stop_sequences": ["w3"]}, "argument stop_sequences is unknown; .* until"),
        ({"until": '["w3"]'}, "looks like a list"),
        ({"until": ["[w3, w4]"]}, "looks like a list"),
        ({"until": ("w3",)}, "expected a string or a list of strings"),
        ({"until": [1]}, "expected a string or a list of strings"),
        ({"until": 5.0}, "expected a string or a list of strings"),
        ({"until": {"w3"}}, "cannot be used: Object of type set"),
        ({"max_gen_toks": "few"}, "'max_gen_toks': 'few'.* cannot be used"),
        ({"max_length": 1}, "max_length=1 leaves no room after a prompt"),
        ({"max_length": "9"}, "max_length=9 leaves no room after a prompt"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be_used(
    given: dict[str, Any],
    message: str,
    tiny: Callable[..., tuple[Path, Path]],
    store: AnswerStore,
) -> None:
    lm = answering(*tiny(), store, cuts=[1]).lm
    with pytest.raises(TaskError, match=message) as caught:
        lm._as_prompt("w1 w2", {"max_gen_toks": 4} | given)
    assert "\n" not in str(caught.value)
    for marker in ("[END]", "[/INST]", "[1]", "[]"):  # these do end responses
        lm._as_prompt("w1 w2", {"until": marker, "max_gen_toks": 4})
