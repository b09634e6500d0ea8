"""A second way to the gradients: finite differences of PEFT's own scaling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from model_helpers import make
from peft.tuners.lora import LoraLayer
from tiny_models import LAYERS
from torch.utils._python_dispatch import TorchDispatchMode

from lm_eval_lora_boundary.traces.gold import Gold
from lm_eval_lora_boundary.traces.gradient import STRENGTHS, Differentiator
from lm_eval_lora_boundary.traces.lm import TraceLM

Tiny = Callable[..., tuple[Path, Path]]
Run = Callable[..., dict[str, Any]]
Folders = tuple[Path, Path]  # of the base model and the adapter
Score = Callable[[Gold, Sequence[float]], float]
PAIRS = [([5, 6, 7, 8, 9], [10, 11]), ([4, 5], [6]), ([9, 8, 7, 6, 5, 4, 3], [20, 21, 22])]
GOLD = [Gold(i, "", context, answer) for i, (context, answer) in enumerate(PAIRS)]
STEP = 1e-6  # smaller than the distance to a kink of OPT's ReLU


class AllDouble(TorchDispatchMode):
    """Computes in fp64 what a model does in fp32, such as norms, so that a small step is exact."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") == torch.float32:
            kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def load(folders: Folders, dtype: str = "float64", **arguments: Any) -> Any:
    return make(*folders, TraceLM, dtype=dtype, **arguments)


def second(folders: Folders, **arguments: Any) -> Score:
    """Return the gold log-probability of a document at strengths, in another way.

    PEFT's own model in fp64, with its scaling set by hand, one full forward pass.
    """
    base = transformers.AutoModelForCausalLM.from_pretrained(
        folders[0], dtype=torch.float64, **arguments
    )
    model = peft.PeftModel.from_pretrained(base, folders[1]).eval().double()
    layers: list[tuple[int, Any, float]] = []
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            side = LAYERS - 1 if name.endswith(("lm_head", "project_out")) else 0
            depth = next((int(part) for part in name.split(".") if part.isdigit()), side)
            layers.append((depth, module, module.scaling["default"]))

    def score(document: Gold, strengths: Sequence[float]) -> float:
        for depth, layer, scaling in layers:
            layer.scaling["default"] = scaling * strengths[depth]
        tokens = torch.tensor([document.context + document.answer])
        with torch.no_grad():
            log_probs = model(input_ids=tokens, use_cache=False).logits[0].log_softmax(dim=-1)
        first = len(document.context) - 1
        return sum(float(log_probs[first + i, token]) for i, token in enumerate(document.answer))

    return score


def finite_difference(score: Score, document: Gold, strength: float) -> list[float]:
    """Return the central differences of a score by the strength of each layer."""
    found = []
    for layer in range(LAYERS):
        ends = []
        for sign in (1, -1):
            strengths = [strength] * LAYERS
            strengths[layer] += sign * STEP
            ends.append(score(document, strengths))
        found.append((ends[0] - ends[1]) / (2 * STEP))
    return found


def assert_agrees_with_second(folders: Folders, **arguments: Any) -> None:
    lm, score = load(folders, **arguments), second(folders, **arguments)
    with AllDouble():
        differentiator = Differentiator(lm)
        differentiator.check(GOLD)
        found = differentiator.read(GOLD)
        for document, each in zip(GOLD, found, strict=True):
            for number, strength in enumerate(STRENGTHS):
                value = score(document, [strength] * LAYERS)
                assert each.logprob[number] == pytest.approx(value, abs=1e-9)
                expected = finite_difference(score, document, strength)
                assert each.derivative[number] == pytest.approx(expected, rel=1e-6, abs=1e-6)
