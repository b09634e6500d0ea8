"""Answers of sweeps, of separate runs, and of PEFT cut by hand, to compare them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import peft
import torch
import transformers
from lm_eval.api.instance import Instance
from peft.tuners.lora import LoraLayer

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.cuts.keep import as_cut
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM
from lm_eval_lora_boundary.sweeps.engines import Engines, find_engines
from lm_eval_lora_boundary.sweeps.progress import Progress
from lm_eval_lora_boundary.sweeps.scheduler import Scheduler
from lm_eval_lora_boundary.sweeps.store import AnswerStore
from lm_eval_lora_boundary.upstream.lm_eval import request

from .models import Small
from .setting import Setting

Found = dict[int, list[Any]]


def generations(prompts: Sequence[str], tokens: int) -> list[Instance]:
    """Return requests for responses of at most a number of tokens."""
    arguments = {"until": [], "max_gen_toks": tokens, "do_sample": False}
    return [request("generate_until", (text, arguments), i) for i, text in enumerate(prompts)]


def choices(prompts: Sequence[str], options: Sequence[str]) -> list[Instance]:
    """Return requests for the log-likelihoods of several continuations of each prompt."""
    pairs = [(text, option) for text in prompts for option in options]
    return [request("loglikelihood", pair, i) for i, pair in enumerate(pairs)]


def loaded(
    model: Small, setting: Setting, dtype: str, cls: Any = LoraBoundaryLM, **more: Any
) -> Any:
    """Load a small model with its adapter as lm-eval does."""
    arguments = {"dtype": dtype, "device": str(setting.device), **model.arguments, **more}
    return cls(pretrained=model.pretrained, peft=model.peft, **arguments)


def by_hand(model: Small, setting: Setting, boundary: int) -> Any:
    """Cut in another way, in fp32: PEFT's own model, with its switch in every dropped layer."""
    base = transformers.AutoModelForCausalLM.from_pretrained(
        model.pretrained, dtype=torch.float32, **model.arguments
    )
    whole = peft.PeftModel.from_pretrained(base.to(setting.device), model.peft).eval()
    for name, module in whole.named_modules():
        if isinstance(module, LoraLayer):
            layer = next(int(part) for part in name.split(".") if part.isdigit())
            module.enable_adapters(layer <= boundary)
    return whole


def swept(
    lm: SweepLM,
    cuts: Sequence[int],
    requests: list[Instance],
    *,
    engine: str = "fork",
    rows: int | None = None,
    engines: Engines | None = None,
) -> Found:
    """Answer requests at all boundaries as a sweep does; return the answers by boundary."""
    among = [as_cut(boundary, lm.layers) for boundary in cuts]
    found = {}
    with TemporaryDirectory() as folder, closing(AnswerStore(Path(folder))) as store:
        chosen = engines or find_engines(lm, engine)
        scheduler = Scheduler(chosen, store, "benchmark", rows, Progress())
        for boundary, cut in zip(cuts, among, strict=True):
            with lm.evaluated(cut, scheduler.at(cut, among)):
                found[boundary] = list(getattr(lm, requests[0].request_type)(requests))
    return found


def different(ours: Found, theirs: Found) -> tuple[int, int]:
    """Return how many responses differ, and how many there are."""
    pairs = [
        pair
        for boundary, answers in ours.items()
        for pair in zip(answers, theirs[boundary], strict=True)
    ]
    return sum(mine != yours for mine, yours in pairs), len(pairs)


def gap(ours: Found, theirs: Found) -> float:
    """Return the largest difference between log-likelihoods, relative to their size."""
    return max(
        abs(mine - yours) / max(1.0, abs(yours))
        for boundary, answers in ours.items()
        for (mine, _), (yours, _) in zip(answers, theirs[boundary], strict=True)
    )
