"""Tiny models that answer requests as in a sweep, with a given engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from model_helpers import make

from lm_eval_lora_boundary import LoraBoundaryLM
from lm_eval_lora_boundary.cuts.keep import as_cut
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM
from lm_eval_lora_boundary.sweeps.engines import Engines, find_engines
from lm_eval_lora_boundary.sweeps.progress import Progress
from lm_eval_lora_boundary.sweeps.scheduler import Scheduler
from lm_eval_lora_boundary.sweeps.store import AnswerStore

SCORES = ("loglikelihood", "loglikelihood_rolling")


@dataclass
class Answering:
    """A model whose requests are answered under several cuts, by name: boundary or notation."""

    lm: SweepLM
    engines: Any
    scheduler: Scheduler
    names: Sequence[int | str]

    def at(self, name: int | str, requests: list[Instance]) -> list[Any]:
        """Answer requests under a cut, as in a sweep."""
        cuts = {each: as_cut(each, self.lm.layers) for each in (*self.names, name)}
        among = [cuts[each] for each in self.names]
        with self.lm.evaluated(cuts[name], self.scheduler.at(cuts[name], among)):
            return list(getattr(self.lm, requests[0].request_type)(requests))


def answering(
    base: Path,
    adapter: Path,
    store: AnswerStore,
    *,
    cuts: Sequence[int | str],
    engine: str = "auto",
    rows: int = 12,
    **settings: Any,
) -> Answering:
    """Return a model that answers under cuts."""
    lm = SweepLM(str(base), peft=str(adapter), device="cpu", **({"dtype": "float32"} | settings))
    engines: Engines = find_engines(lm, engine)
    scheduler = Scheduler(engines, store, "test", rows, Progress())
    return Answering(lm, engines, scheduler, cuts)


def separately(
    base: Path, adapter: Path, name: int | str, requests: list[Instance], **settings: Any
) -> list[Any]:
    """Answer requests as a run of `lm_eval --model lora_boundary` with `boundary=` or `keep=` does.

    One by one: in a batch, lm-eval lets a response that holds a special token go on for as long
    as the others do.
    """
    settings = {"batch_size": 1} | settings
    cut = {"boundary": name} if isinstance(name, int) else {"keep": name}
    lm = make(base, adapter, LoraBoundaryLM, **cut, **settings)
    return list(getattr(lm, requests[0].request_type)(requests, disable_tqdm=True))


def close(ours: Any, theirs: Any, tolerance: float = 1e-4) -> bool:
    """Return whether two answers are equal: strings exactly, log-likelihoods within 1e-4."""
    if isinstance(theirs, tuple):
        return close(ours[0], theirs[0], tolerance) and ours[1] == theirs[1]
    if isinstance(theirs, float):
        return abs(ours - theirs) <= tolerance * max(1.0, abs(theirs))
    return bool(ours == theirs)


@torch.no_grad()
def undecided(
    base: Path,
    adapter: Path,
    name: int | str,
    request: Instance,
    responses: tuple[str, str],
    **settings: Any,
) -> bool:
    """Return whether rounding decides which of two responses a model writes.

    Padding in front of a text changes nothing but rounding. Where it moves the logits of the first
    two tokens that differ as far as they lie apart, both responses are right. In a mixture of
    experts that can be far: rounding can send a token to another expert.
    """
    cut = {"boundary": name} if isinstance(name, int) else {"keep": name}
    lm = make(base, adapter, LoraBoundaryLM, batch_size=1, **cut, **settings)
    ours, theirs = (lm.tok_encode(text) for text in responses)
    pairs = enumerate(zip_longest(ours, theirs))
    # a response that ends before the other one ended with a stop string, which is cut off
    place = next(i for i, (mine, yours) in pairs if mine != yours)
    text = [*lm.tok_encode(request.args[0]), *ours[:place]]
    tokens = [each[place] if place < len(each) else None for each in (ours, theirs)]
    stop = lm.tok_encode(request.args[1]["until"][0].strip())[0]
    mine, yours = (stop if token is None else token for token in tokens)
    logits = []
    for padding in range(9):
        mask = torch.tensor([[0] * padding + [1] * len(text)])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        padded = torch.tensor([[0] * padding + text])
        found = lm.model(padded, attention_mask=mask, position_ids=positions).logits[0, -1]
        logits.append(found)
    gaps = [abs(float(each[mine] - each[yours])) for each in logits]
    moved = max(float((each - logits[0]).abs().max()) for each in logits)
    return min(gaps) <= 2 * moved
