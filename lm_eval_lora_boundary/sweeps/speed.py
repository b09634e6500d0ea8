"""``speed.json``: how long a token takes with base model, whole adapter and the recommended cuts.

A short trial on the machine of the sweep, after it. Times differ from run to run, so they are not
in ``sweep.json``. Nothing is said where the machine is too noisy to tell two cuts apart.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ..cuts.base_model import weightless
from ..cuts.keep import Cut, as_cut
from ..cuts.size import in_words
from ..errors import OutputError
from ..files import SPEED, read_object, write_text
from ..harness.sweep_lm import SweepLM
from ..stats.scores import Name

logger = logging.getLogger("lm_eval.lora_boundary")

ROUNDS = 9
_RANKS = (1, 7)  # of 9 sorted values: these two enclose the median with a probability of 96 %
_BUDGET = 4.0  # seconds for each kind of pass
_SHORTEST = 0.01  # seconds that a measurement takes at least, since clocks and caches have noise
_MOST_CUTS = 4
# kind of pass: tokens in it, and what such a token is called
_PASSES = {"writing": (1, "A token of a response"), "reading": (32, "A token of a prompt")}

BASE = -1


def measure_speed(
    lm: SweepLM, summary: Mapping[str, Any], output: Path, *, wanted: bool
) -> dict[str, Any] | None:
    """Measure what a token takes and write ``speed.json``; remove it if it is of other cuts.

    A file of the same cuts, weights and machine is kept.

    Args:
        lm: The model.
        summary: The content of ``sweep.json``.
        output: The folder of the sweep.
        wanted: Whether to measure at all.

    Raises:
        OutputError: The file cannot be written.
    """
    path = output / SPEED
    chosen = [entry["choice"] for entry in summary["tasks"].values()]
    full = lm.layers - 1
    others = dict.fromkeys(name for name in chosen if name not in (BASE, full))
    names = [BASE, full, *list(others)[:_MOST_CUTS]]
    about = {
        **{key: summary[key] for key in ("base_sha256", "adapter_sha256")},
        "conditions": _conditions(lm),
        "cuts": names,
    }
    known = _known(path)
    if known is not None and {key: known.get(key) for key in about} == about:
        return known
    path.unlink(missing_ok=True)
    if not wanted or weightless(lm.cut.model):
        return None
    cuts = {name: as_cut(name, lm.layers) for name in names}
    passes = {kind: _measure(lm, cuts, full, tokens) for kind, (tokens, _) in _PASSES.items()}
    found = about | {"passes": passes}
    found["sentences"] = _sentences(found, cuts)
    write_text(path, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return found


def _known(path: Path) -> dict[str, Any] | None:
    try:
        return read_object(path, "") if path.is_file() else None
    except OutputError:
        return None


def _conditions(lm: SweepLM) -> dict[str, Any]:
    """Return what the times depend on besides model and cut."""
    name = torch.cuda.get_device_name(lm.device) if lm.device.type == "cuda" else None
    return {
        "device": lm.device.type if name is None else name,
        "dtype": str(lm.model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads() if lm.device.type == "cpu" else None,
        "batch": 1,
        "rounds": ROUNDS,
        "engine": "transformers and PEFT, adapter not merged",
    }


def _measure(
    lm: SweepLM, cuts: Mapping[Name, Cut], full: int, tokens: int
) -> dict[str, Any] | None:
    """Measure passes of one kind under every cut; None if that would take too long."""
    ids = torch.zeros((1, tokens), dtype=torch.long, device=lm.device)
    order: list[Name] = [*cuts, full]  # the whole adapter twice, to see how noisy the machine is
    with lm.cut, torch.no_grad(), lm.precision():
        lm.cut.move(cuts[full])
        _time(lm, ids, 1)  # the first pass is slower
        once = min(_time(lm, ids, 1) for _ in range(2))
        repeats = max(1, round(_SHORTEST / once))
        if repeats * once * (len(order) + 1) * ROUNDS > _BUDGET:
            return None
        rounds = [_round(lm, cuts, order, ids, repeats, turn) for turn in range(ROUNDS)]
    times = list(zip(*rounds, strict=True))
    whole, again = times[order.index(full)], times[-1]
    compared = [
        {"cut": name, "to": to, **_ratio(times[i], times[order.index(to)])}
        for i, name in enumerate(cuts)
        for to in (full, BASE)
        if name not in (to, BASE)
    ]
    noise = _ratio(again, whole)
    for row in compared:
        apart = row["high"] < min(1.0, noise["low"]) or row["low"] > max(1.0, noise["high"])
        row["shown"] = apart
    return {
        "tokens": tokens,
        "repeats": repeats,
        "seconds_per_token": [
            {"cut": name, **_spread([each / tokens for each in times[i]])}
            for i, name in enumerate(cuts)
        ],
        "ratios": compared,
        "noise": noise,
    }


def _round(
    lm: SweepLM,
    cuts: Mapping[Name, Cut],
    order: Sequence[Name],
    ids: torch.Tensor,
    repeats: int,
    turn: int,
) -> list[float]:
    """Return the seconds of a pass under every cut, measured forwards or backwards in turn."""
    found = [0.0] * len(order)
    places = range(len(order))
    for place in places if turn % 2 == 0 else reversed(places):
        lm.cut.move(cuts[order[place]])
        _time(lm, ids, 1)  # with its weights in the caches, as in use
        found[place] = _time(lm, ids, repeats)
    return found


def _time(lm: SweepLM, ids: torch.Tensor, repeats: int) -> float:
    """Return the seconds that a pass takes, on average."""
    _wait(lm)
    started = time.perf_counter()
    for _ in range(repeats):
        lm.cut.model(input_ids=ids, use_cache=False)
    _wait(lm)
    return (time.perf_counter() - started) / repeats


def _wait(lm: SweepLM) -> None:
    if lm.device.type != "cpu":
        getattr(torch, lm.device.type).synchronize()


def _ratio(times: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    spread = _spread([a / b for a, b in zip(times, reference, strict=True)])
    return {"ratio": spread.pop("median"), **spread}


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, and two of the values between which it lies with 96 % probability."""
    ranked = sorted(values)
    return {"median": median(ranked), "low": ranked[_RANKS[0]], "high": ranked[_RANKS[1]]}


def _sentences(found: Mapping[str, Any], cuts: Mapping[Name, Cut]) -> list[dict[str, Any]]:
    """Say what was measured, for each cut and kind of pass where two cuts can be told apart.

    A cut is compared with the whole adapter, and the whole adapter with none.
    """
    about = found["conditions"]
    number = about["threads"]
    threads = "" if number is None else f", {number} {'thread' if number == 1 else 'threads'}"
    where = f"{about['device']}, {about['dtype']}, batch 1{threads}, {about['engine']}"
    said = []
    for kind, passes in found["passes"].items():
        for row in passes["ratios"] if passes else ():
            whole = cuts[row["cut"]].keeps_all
            if not row["shown"] or (row["to"] == BASE) != whole:
                continue
            times = {each["cut"]: 1000 * each["median"] for each in passes["seconds_per_token"]}
            _, subject = _PASSES[kind]
            text = (
                f"{subject} takes {row['ratio']:.2f} times as long with "
                f"{in_words(cuts[row['cut']])} as with {in_words(cuts[row['to']])} "
                f"(95 % interval {row['low']:.2f} to {row['high']:.2f}; "
                f"{times[row['cut']]:.3g} and {times[row['to']]:.3g} ms; {where}; "
                f"{passes['tokens']} tokens in a pass)."
            )
            said.append({"cut": row["cut"], "kind": kind, "text": text})
    return said
