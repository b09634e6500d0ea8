"""How the vLLM engine of a sweep loads cuts and orders answers; a stand-in answers, not vLLM."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lm_eval_lora_boundary.cuts.keep import Cut, parse_keep
from lm_eval_lora_boundary.forward.requests import Generate
from lm_eval_lora_boundary.vllm.engine import Vllm

LAYERS = 4
CUTS = [parse_keep(keep, LAYERS) for keep in ("all", "1-3", "none", "all@0.5", "0-1", "2")]


@dataclass(frozen=True)
class Adapter:
    lora_name: str
    lora_int_id: int
    path: str


class Engine:
    """Answers with the name of the adapter, and fails if more are loaded than there are slots."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.loaded: dict[int, str] = {}
        self.batches: list[set[int]] = []
        self.model = SimpleNamespace(generate=self.generate, llm_engine=self)

    def remove_lora(self, number: int) -> None:
        del self.loaded[number]

    def generate(
        self, prompts: list[Any], _: list[Any], *, lora_request: list[Adapter | None], **__: Any
    ) -> list[Any]:
        self.batches.append({each.lora_int_id for each in lora_request if each})
        for each in filter(None, lora_request):
            # one number always stands for one cut
            assert self.loaded.setdefault(each.lora_int_id, each.lora_name) == each.lora_name
        assert len(self.loaded) <= self.slots - 1
        return [
            f"{each.lora_name if each else 'base'} {prompt['prompt_token_ids'][0]}"
            for prompt, each in zip(prompts, lora_request, strict=True)
        ]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    request = ModuleType("vllm.lora.request")
    request.LoRARequest = Adapter  # type: ignore[attr-defined]
    for name in ("vllm", "vllm.lora"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "vllm.lora.request", request)

    def write(cut: Cut, parent: Path) -> Path:
        return parent / str(cut)

    def make(slots: int) -> tuple[Vllm, Engine]:
        lm: Any = SimpleNamespace(cut_folders=SimpleNamespace(write=write), layers=LAYERS)
        engine, stand_in = stack.enter_context(closing(Vllm(lm))), Engine(slots)
        engine._engine, engine._slots = stand_in, slots
        monkeypatch.setattr(engine, "_parameters", lambda request: None)
        monkeypatch.setattr(engine, "_answer", lambda request, output: (output, []))
        return engine, stand_in

    with ExitStack() as stack:
        yield make


@pytest.mark.parametrize("slots", [2, 3, 4, 7])
def test_answers_are_in_the_order_of_the_cuts_whatever_the_slots(slots: int, make: Any) -> None:
    engine, stand_in = make(slots)
    requests = [Generate((number,), (), 3, "{}", "", "") for number in (10, 11)]
    answer = engine.prepare(requests, CUTS)
    expected = [
        [f"{'base' if cut.keeps_none else cut} {number}" for cut in CUTS] for number in (10, 11)
    ]
    assert answer(requests) == expected
    assert answer(requests) == expected  # after adapters took turns
    assert engine.passes(CUTS) == len(CUTS) * LAYERS
    assert engine.rows(len(CUTS)) == len(CUTS)
    assert set().union(*stand_in.batches) == set(range(1, len(CUTS)))
