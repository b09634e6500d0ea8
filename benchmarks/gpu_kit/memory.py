"""The memory of keys and values by the formula of a sweep, and what was allocated."""

from __future__ import annotations

from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.forward.memory import row_bytes, rows_that_fit

from .rows import Row, at_least, at_most
from .setting import Setting
from .work import Large, Shared, random_tokens

_OFF = 1.1  # how far the formula may be off
_GB = 1e9


def memory(setting: Setting) -> list[Row]:
    """Read texts under all boundaries, and write until every cut has a text of its own."""
    large = Large.of(setting)
    lm = large.sweep()
    config, dtype = lm.model.config, lm.model.dtype
    count, width = setting.pick((4, 1000), (3, 800))
    steps = setting.pick(32, 2)
    cuts = [Cut.up_to(boundary, lm.layers) for boundary in range(lm.layers - 1, -2, -1)]
    shared = Shared(lm, cuts, setting)
    tokens = random_tokens(large.shape, count, width)
    formula = row_bytes(config, dtype, width + steps) * count * len(cuts)

    def run() -> int:
        texts = shared.read(tokens)
        shared.write(texts)
        shared.part(texts)
        shared.write(texts, steps - 1)
        tensors = [part for layer in texts.cache.layers for part in (layer.keys, layer.values)]
        return sum(each.untyped_storage().nbytes() for each in tensors)

    peak, used = setting.peak(run)
    rows = [
        Row("rows", count * len(cuts)),
        Row("formula", formula / _GB, "GB"),
        at_most("allocated for keys and values, of the formula", used / formula, _OFF),
        at_least("allocated for keys and values, of the formula", used / formula, 1 / _OFF),
        Row("rows of a batch that would fit",
            rows_that_fit(config, dtype, width + steps, setting.device)),
    ]  # fmt: skip
    if peak is not None:
        # half of the free memory is left for all but keys and values
        rows.append(at_most("largest memory of all tensors, of the formula", peak / formula, 2.0))
    return rows
