"""Families of cuts in one pass, against their cuts one by one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lm_eval_lora_boundary.cuts.families import Adapted, make_family
from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.forward.kv_cache import growing_cache
from lm_eval_lora_boundary.forward.split_model import SplitModel
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM

from .rows import Row
from .setting import Setting
from .work import Large, Shared, random_tokens

_TOGETHER = "upper,lower,random,each,only"
_FAMILIES = ("upper", "lower", "each", "only", "scale", _TOGETHER)
_SAMPLE = 3  # cuts of a family that run one by one


def families(setting: Setting) -> list[Row]:
    """Read prompts under all cuts of a family, and under some of them one by one."""
    large = Large.of(setting)
    lm = large.sweep()
    count, width = setting.pick((2, 512), (2, 6))
    tokens = random_tokens(large.shape, count, width)
    adapted = Adapted(lm.layers, range(lm.layers), {})
    rows = [Row("texts", count), Row("tokens of a text", width)]
    for names in _FAMILIES:
        cuts = [cut for name in names.split(",") for cut in make_family(name, adapted).cuts]
        cuts = list(dict.fromkeys(cuts))
        shared = Shared(lm, cuts, setting)
        together = setting.seconds(lambda: shared.read(tokens), 3)  # noqa: B023
        some = {round(i * (len(cuts) - 1) / (_SAMPLE - 1)) for i in range(_SAMPLE)}
        chosen = [cuts[i] for i in sorted(some)]
        apart = setting.seconds(lambda: _one_by_one(lm, chosen, tokens), 3)  # noqa: B023
        separate = apart * len(cuts) / len(chosen)
        share = shared.passes / (lm.layers * len(cuts))
        rows += [
            Row(f"{names}, {len(cuts)} cuts: layer passes, share of separate runs", share),
            Row(f"{names}, {len(cuts)} cuts: time, share of separate runs", together / separate),
        ]
    return rows


@torch.no_grad()
def _one_by_one(lm: SweepLM, cuts: Sequence[Cut], tokens: torch.Tensor) -> None:
    model = SplitModel(lm.cut.model.get_base_model())
    tokens = tokens.to(lm.device)
    for cut in cuts:
        lm.cut.move(cut)
        cache = growing_cache(lm.model.config)
        model.hidden(tokens, torch.ones_like(tokens), cache, padded=False)
    lm.cut.move(lm.layers - 1)
