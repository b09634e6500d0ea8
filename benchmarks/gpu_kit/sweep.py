"""All boundaries of the large model, against one run times their number and against the floor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from lm_eval_lora_boundary.forward.attention import attention_kernels
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM
from lm_eval_lora_boundary.sweeps.engines import Engines, find_engines

from .answers import generations, swept
from .models import texts
from .rows import Row, at_least
from .setting import Setting
from .work import ALIKE, APART, Alone, Large, Pass, counted

_TARGETS = {32: 8.0, 256: 3.0}  # times less wall time, by the length of responses


def sweep(setting: Setting) -> list[Row]:
    """Measure sweeps whose cuts write different texts, and one whose cuts write the same."""
    count, width = setting.pick((8, 1000), (2, 8))
    lengths = setting.pick((32, 100, 256), (2, 3))
    shape = Large.of(setting).shape
    prompts = list(texts(count, width, shape.vocabulary))
    separate = _separate(setting, prompts, lengths)
    rows = [Row("documents", count), Row("tokens of a prompt", width)]
    found: dict[tuple[float, int], tuple[float, list[Pass]]] = {}
    for strength in (APART, ALIKE):
        lm = Large.of(setting, strength).sweep()
        engines = find_engines(lm, "fork")
        _swept(lm, engines, prompts[:1], 2)
        for length in lengths if strength == APART else lengths[:1]:
            found[strength, length] = _timed(setting, lm, engines, prompts, length)
        del lm, engines
        setting.free()
    alone = Alone(Large.of(setting))
    boundaries = shape.layers + 1
    for (strength, length), (seconds, passes) in found.items():
        texts_ = "different texts" if strength == APART else "the same text"
        what = f"responses of {length} tokens, {texts_}"
        rows.append(Row(f"{what}: the sweep", seconds, "s"))
        for how, times in separate.items():
            ratio = boundaries * times[length] / seconds
            name = f"{what}: {boundaries} runs of hf, {how}, take times as long"
            least = _TARGETS.get(length) if strength == APART else None
            rows.append(Row(name, ratio) if least is None else at_least(name, ratio, least))
        floor = _floor(alone, passes, count, width, length, shape.layers)
        name = f"{what}: base model alone in as many distinct computations, share of the time"
        rows.append(Row(name, floor / seconds))
    return rows


def _swept(lm: SweepLM, engines: Engines, prompts: Sequence[str], length: int) -> None:
    boundaries = range(lm.layers - 1, -2, -1)
    swept(lm, boundaries, generations(prompts, length), engines=engines)


def _timed(
    setting: Setting, lm: SweepLM, engines: Engines, prompts: Sequence[str], length: int
) -> tuple[float, list[Pass]]:
    with counted(lm.decoder_layers) as passes:
        seconds = setting.seconds(lambda: _swept(lm, engines, prompts, length), warm=False)
    return seconds, passes


def _separate(
    setting: Setting, prompts: Sequence[str], lengths: Sequence[int]
) -> dict[str, dict[int, float]]:
    """Return the seconds of one run of ``hf``, by how it runs and by length of responses.

    One by one, a few documents run, and the time is scaled up. A sweep does without cuDNN's
    attention, so ``hf`` is also given that.
    """
    together = f"in batches of {len(prompts)}"
    found = {
        "one by one": _of_one(setting, 1, prompts[:2], lengths, len(prompts) / 2),
        together: _of_one(setting, len(prompts), prompts, lengths),
    }
    if setting.on_gpu:
        with attention_kernels(setting.device):
            without = _of_one(setting, len(prompts), prompts, lengths)
        found[f"{together}, without cuDNN's attention"] = without
    return found


def _of_one(
    setting: Setting,
    size: int,
    prompts: Sequence[str],
    lengths: Sequence[int],
    scale: float = 1.0,
) -> dict[int, float]:
    lm = Large.of(setting).hf(size)
    _run(lm, prompts, 2)
    return {
        length: scale * setting.seconds(partial(_run, lm, prompts, length), warm=False)
        for length in lengths
    }


def _run(lm: Any, prompts: Sequence[str], length: int) -> None:
    lm.generate_until(generations(prompts, length), disable_tqdm=True)


def _floor(
    alone: Alone, passes: Sequence[Pass], count: int, width: int, length: int, layers: int
) -> float:
    """Return the seconds of the base model alone for the same rows and tokens."""
    read = alone.seconds_to_read(min(count, 4), width)
    reading = sum(each.rows * each.tokens * read for each in passes if each.tokens > 1)
    steps = [round(each.rows / layers) for each in passes if each.tokens == 1]
    if not steps:
        return reading
    # the time of a step grows evenly with its rows, so two of them suffice
    least, most = min(steps), max(steps)
    past = width + length // 2
    times = [alone.seconds_to_write(rows, past) for rows in (least, most)]
    slope = (times[1] - times[0]) / max(1, most - least)
    return reading + sum(times[0] + (rows - least) * slope for rows in steps)
