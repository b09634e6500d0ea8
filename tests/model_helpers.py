"""Models as lm-eval loads them, and requests to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.upstream.lm_eval import request

TOKENS = torch.arange(4, 20).reshape(2, 8)


def make(base: Path, adapter: Path | None = None, cls: Any = LoraBoundaryLM, **kwargs: Any) -> Any:
    settings: dict[str, Any] = {"pretrained": str(base), "device": "cpu", "batch_size": 3}
    if adapter is not None:
        settings["peft"] = str(adapter)
    return cls(**(settings | {"dtype": "float32"} | kwargs))


def logits(lm: Any) -> torch.Tensor:
    return lm._model_call(TOKENS)


def requests(kind: str) -> list[Instance]:
    """Return requests of mixed lengths, with shared contexts and continuations of any length."""
    words = [f"w{i}" for i in range(40)]
    if kind == "generate_until":
        arguments: list[tuple[Any, ...]] = [
            (" ".join(words[:n]), {"until": ["w7 "], "max_gen_toks": 12}) for n in (3, 9, 5, 20, 4)
        ]
    elif kind == "loglikelihood_rolling":
        arguments = [(" ".join(words[:n]),) for n in (2, 30, 17)]
    else:
        arguments = [
            (" ".join(words[:n]), continuation)
            for n in (3, 12, 7)
            for continuation in (" w1", " w2", " w3 w4", " w3 w5", " w9 w8 w7 w6")
        ] + [("", " w1 w2")]
    return [request(kind, argument, i) for i, argument in enumerate(arguments)]
