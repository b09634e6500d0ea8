"""What the card reaches while reading and writing, beside the base model alone."""

from __future__ import annotations

from functools import partial

from lm_eval_lora_boundary.cuts.keep import Cut

from .cards import measured, peaks
from .models import Shape
from .rows import Row, at_least
from .setting import Setting
from .work import Alone, Large, Shared, random_tokens

_SHARE = 0.6  # of what the base model alone reaches
_STEPS = 8  # of writing, measured together
_BYTES = 2  # of a number in bf16


def passes(setting: Setting) -> list[Row]:
    """Measure passes under all boundaries: reading, writing the same text, writing apart."""
    large = Large.of(setting)
    shape = large.shape
    own = measured(setting)
    card = peaks(setting, own)
    rows = [
        Row(f"peak in bf16 ({card.source})", card.flops / 1e12, "TFLOP/s"),
        Row(f"peak of the memory ({card.source})", card.bandwidth / 1e12, "TB/s"),
        Row("matrix product, measured", own.flops / 1e12, "TFLOP/s"),
        Row("copy, measured", own.bandwidth / 1e12, "TB/s"),
    ]
    count, width = setting.pick((4, 1000), (2, 8))
    reading, distinct, writing = _shared(large, count, width)
    setting.free()
    alone = Alone(large)
    per_pass = alone.seconds_to_read(count, width)
    done, work = distinct * count * width, _flops(shape, width)
    rows += [
        Row(f"reading {count} texts of {width} tokens, distinct layer passes of a token",
            distinct),
        Row("reading, share of the peak", work * done / reading / card.flops),
        Row("reading, share of the peak, base model alone", work / per_pass / card.flops),
        at_least("reading, of what the base model alone reaches", per_pass * done / reading,
                 _SHARE),
    ]  # fmt: skip
    for name, (written, seconds) in writing.items():
        each = round(written / shape.layers)
        base = alone.seconds_to_write(each, width)
        moved, computed = _bytes(shape, written, width), 2.0 * written * shape.weights_of_a_layer
        what = f"writing, every cut {name}"
        rows += [
            Row(f"{what}: rows of a layer", each),
            Row(f"{what}: share of the memory's peak", moved / seconds / card.bandwidth),
            Row(f"{what}: share of the peak in bf16", computed / seconds / card.flops),
            Row(f"{what}: a step of the base model alone", base * 1000, "ms"),
            at_least(f"{what}: of what the base model alone reaches", base / seconds, _SHARE),
        ]
    return rows


def _shared(
    large: Large, count: int, width: int
) -> tuple[float, int, dict[str, tuple[int, float]]]:
    """Read and write under all boundaries.

    Returns:
        The seconds of reading, the distinct layer passes of a token, and for every way to write,
        the rows of all layers and the seconds of a step.
    """
    setting, shape = large.setting, large.shape
    cuts = [Cut.up_to(boundary, shape.layers) for boundary in range(shape.layers - 1, -2, -1)]
    shared = Shared(large.sweep(), cuts, setting)
    tokens = random_tokens(shape, count, width)
    reading = setting.seconds(lambda: shared.read(tokens), 3)
    writing = {}
    for name in ("the same text", "a text of its own"):
        texts = shared.read(tokens)
        if name != "the same text":
            shared.part(texts)
        written = sum(len(layer.first) for layer in texts.rows.layers)
        seconds = setting.seconds(partial(shared.write, texts, _STEPS), 3) / _STEPS
        writing[name] = written, seconds
    return reading, shared.passes, writing


def _flops(shape: Shape, width: int) -> float:
    """Return the operations of a token in a layer, on average over a text; without LoRA."""
    attention = 4 * shape.heads * shape.head_size * (width / 2)
    return 2 * shape.weights_of_a_layer + attention


def _bytes(shape: Shape, rows: int, past: int) -> float:
    """Return what a step must read: all weights, and the keys and values of all rows."""
    weights = shape.layers * shape.weights_of_a_layer + shape.vocabulary * shape.hidden
    values = rows * past * 2 * shape.kv_heads * shape.head_size
    return float(_BYTES * (weights + values))
