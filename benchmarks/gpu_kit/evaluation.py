"""One evaluation at a boundary against lm-eval's ``hf`` with the whole adapter, in turn."""

from __future__ import annotations

from statistics import median
from typing import Any

from lm_eval.api.instance import Instance

from .answers import choices, generations
from .models import Shape, texts
from .rows import Row, at_most
from .setting import Setting
from .work import Large

_NOISE = 1.02  # two runs of the same code differ by as much


def evaluation(setting: Setting) -> list[Row]:
    """Compare prompt-heavy and decode-heavy generation and multiple choice."""
    large = Large.of(setting)
    size = setting.pick(16, 2)
    shape = large.shape
    sides = {"hf": large.hf(size), "half": large.at(shape.layers // 2, size)}
    sides["whole"] = large.at(shape.layers - 1, size)
    rows = [Row("documents in a batch", size)]
    for name, work in _works(setting, shape).items():
        times: dict[str, list[float]] = {side: [] for side in sides}
        for lm in sides.values():
            _answer(lm, work[:1])
        for _ in range(setting.pick(3, 1)):
            for side, lm in sides.items():
                times[side].append(setting.seconds(lambda: _answer(lm, work), warm=False))  # noqa: B023
        found = {side: median(each) for side, each in times.items()}
        rows.append(Row(f"{name}: hf", found["hf"], "s"))
        for side, said in (("half", "in the lower half of the layers"), ("whole", "whole")):
            ratio = found[side] / found["hf"]
            rows.append(at_most(f"{name}: adapter {said}, time of hf", ratio, _NOISE))
    return rows


def _answer(lm: Any, work: list[Instance]) -> None:
    getattr(lm, work[0].request_type)(work, disable_tqdm=True)


def _works(setting: Setting, shape: Shape) -> dict[str, list[Instance]]:
    count, long, short = setting.pick((32, 1000, 60), (3, 12, 4))
    words = shape.vocabulary
    options = list(texts(4, 4, words, seed=1))
    asked = choices(list(texts(2 * count, long // 3, words)), [f" {each}" for each in options])
    few, many = setting.pick((8, 64), (2, 5))
    return {
        f"prompts of {long} tokens, responses of {few}": generations(
            list(texts(count, long, words)), few
        ),
        f"prompts of {short} tokens, responses of {many}": generations(
            list(texts(count, short, words)), many
        ),
        f"multiple choice after {long // 3} tokens": asked,
    }
