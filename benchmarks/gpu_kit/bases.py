"""Ways to compute attention, quantized base models, and where a model lies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import torch
import transformers

from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.forward.requests import Answers, Request
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM
from lm_eval_lora_boundary.sweeps.engines import find_engines

from .answers import Found, different, generations, loaded, swept
from .exactness import without_tf32
from .models import Small, random_small, small
from .rows import Row, at_most
from .setting import Setting

_CUTS = "responses of the shared forward unlike those one cut at a time"


def attention(setting: Setting) -> list[Row]:
    """Compare the shared forward with one cut at a time, under every kind of attention."""
    model = small(setting)
    rows = [Row("model", model.name)]
    with without_tf32():
        for kind in ("sdpa", "eager"):
            rows.append(_both_engines(model, setting, kind, "float32", attn_implementation=kind))
    for kind, package in (
        ("flash_attention_2", "flash_attn"),
        ("flash_attention_3", "flash_attn_3"),
    ):
        if setting.on_gpu and find_spec(package):
            more = {"attn_implementation": kind}
            rows.append(_both_engines(model, setting, kind, "bfloat16", **more))
        else:
            rows.append(
                Row(kind, f"not run: no {package}" if setting.on_gpu else "not run: no GPU")
            )
    return rows


def quantized(setting: Setting) -> list[Row]:
    """Compare the shared forward with one cut at a time, on quantized base models."""
    model = random_small(setting)  # a GGUF file is quantized already
    rows = [Row("model", model.name)]
    for name, package, make in _quantizations():
        if not find_spec(package):
            rows.append(Row(name, f"not run: no {package}"))
            continue
        if package == "bitsandbytes" and setting.tiny:
            rows.append(Row(name, "not run: the layers of a tiny model cannot be packed"))
            continue
        # 8 bits of bitsandbytes round by the largest input of a batch, so answers depend on it
        exact = not name.endswith("8 bits of bitsandbytes")
        with without_tf32():
            lm = _quantized_lm(model, setting, make())
            rows.append(_compared(lm, model, setting, name, "float32", exact=exact))
    return rows


def _quantizations() -> list[tuple[str, str, Callable[[], Any]]]:
    def torchao() -> Any:
        from torchao.quantization import Int8WeightOnlyConfig

        return transformers.TorchAoConfig(Int8WeightOnlyConfig())

    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    return [
        ("4 bits of bitsandbytes", "bitsandbytes", lambda: transformers.BitsAndBytesConfig(**four)),
        (
            "8 bits of bitsandbytes",
            "bitsandbytes",
            lambda: transformers.BitsAndBytesConfig(load_in_8bit=True),
        ),
        ("8 bits of torchao", "torchao", torchao),
    ]


def placement(setting: Setting) -> list[Row]:
    """Let accelerate place the model, lm-eval choose the batch, and the memory run out."""
    model = small(setting)
    rows = [Row("model", model.name)]
    with without_tf32():
        rows += _placed(model, setting)
        rows += _automatic(model, setting)
        rows += _out_of_memory(model, setting)
    return rows


def _work(model: Small, setting: Setting) -> tuple[list[int], list[Any]]:
    layers = model.layers
    count, width = setting.pick((8, 60), (3, 8))
    prompts = model.prompts(count, width)
    return sorted({-1, layers // 2, layers - 1}), generations(prompts, setting.pick(16, 5))


def _quantized_lm(model: Small, setting: Setting, config: Any) -> SweepLM:
    """Quantize a base model while it is loaded; lm-eval takes a config from checkpoints only."""
    base = transformers.AutoModelForCausalLM.from_pretrained(
        model.pretrained, dtype=torch.float32, quantization_config=config, device_map=setting.device
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.pretrained)
    return SweepLM(base, tokenizer=tokenizer, peft=model.peft)


def _both_engines(model: Small, setting: Setting, name: str, dtype: str, **more: Any) -> Row:
    return _compared(loaded(model, setting, dtype, SweepLM, **more), model, setting, name, dtype)


def _compared(
    lm: SweepLM, model: Small, setting: Setting, name: str, dtype: str, *, exact: bool = True
) -> Row:
    boundaries, work = _work(model, setting)
    fork = swept(lm, boundaries, work)
    toggled = swept(lm, boundaries, work, engine="toggle", rows=1)
    changed, all_ = different(fork, toggled)
    what = f"{name}, {dtype}: {_CUTS}, of {all_}"
    return at_most(what, changed, 0) if dtype == "float32" and exact else Row(what, changed)


def _placed(model: Small, setting: Setting) -> list[Row]:
    boundaries, work = _work(model, setting)
    lm = loaded(model, setting, "float32", SweepLM)
    expected = swept(lm, boundaries, work)
    del lm
    setting.free()
    if not setting.on_gpu:
        return [Row("device_map=auto", "not run: no GPU")]
    lm = loaded(model, setting, "float32", SweepLM, parallelize=True)
    changed, all_ = different(swept(lm, boundaries, work), expected)
    where = len(set(getattr(lm.model, "hf_device_map", {"": 0}).values()))
    return [at_most(f"device_map=auto on {where} devices: responses that differ, of {all_}",
                    changed, 0)]  # fmt: skip


def _automatic(model: Small, setting: Setting) -> list[Row]:
    boundary = model.layers // 2
    _, work = _work(model, setting)
    found: Found = {}
    sizes: tuple[int | str, ...] = (1, setting.pick("auto", 2))
    for number, size in enumerate(sizes):
        # lm-eval tries batches of the longest texts, which would take minutes and the whole card
        more = {"batch_size": size, "max_length": 512}
        lm = loaded(model, setting, "float32", boundary=boundary, **more)
        found[number] = lm.generate_until(work, disable_tqdm=True)
        del lm
        setting.free()
    changed, all_ = different({0: found[0]}, {0: found[1]})
    what = f"batch_size={sizes[1]}: responses unlike those one by one, of {all_}"
    return [at_most(what, changed, 0)]


def _out_of_memory(model: Small, setting: Setting) -> list[Row]:
    """Give batches that are too large for the memory, and see them halved."""
    lm = loaded(model, setting, "float32", SweepLM)
    boundaries, work = _work(model, setting)
    if setting.on_gpu and not setting.tiny:
        work = generations(model.prompts(64, 60), 16)
    engines = find_engines(lm, "fork")
    expected = swept(lm, boundaries, work, engines=engines, rows=len(boundaries))
    rows = len(boundaries) * len(work)
    short = _little_memory(setting) if setting.on_gpu else _pretended(engines, len(boundaries))
    with _warnings() as heard, short:
        found = swept(lm, boundaries, work, engines=engines, rows=rows)
    changed, all_ = different(found, expected)
    halved = sum("out of memory" in line for line in heard)
    how = "with little memory" if setting.on_gpu else "with an error in place of little memory"
    return [
        Row(f"batches halved {how}", halved, "", "≥ 1", halved >= 1),
        at_most(f"responses {how} that differ, of {all_}", changed, 0),
    ]


@contextmanager
def _little_memory(setting: Setting) -> Iterator[None]:
    """Leave torch little more memory than it has in use.

    Keys and values of all rows of the real model take 660 MB, those of a document 10.
    """
    setting.free()
    total = torch.cuda.get_device_properties(setting.device).total_memory
    used = torch.cuda.memory_reserved(setting.device)
    torch.cuda.set_per_process_memory_fraction((used + (256 << 20)) / total, setting.device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, setting.device)


@contextmanager
def _pretended(engines: Any, most: int) -> Iterator[None]:
    """Raise CUDA's error for every batch of more rows, since a CPU has memory enough."""
    real = engines.engine

    def engine(request: Request) -> Any:
        inner = real(request)

        def prepare(requests: Sequence[Request], cuts: Sequence[Cut]) -> Any:
            answer = inner.prepare(requests, cuts)

            def limited(batch: Sequence[Request]) -> list[Answers]:
                if len(batch) * len(cuts) > most:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
                return answer(batch)

            return limited

        return SimpleNamespace(
            name=inner.name, rows=inner.rows, passes=inner.passes, prepare=prepare
        )

    engines.engine = engine
    try:
        yield
    finally:
        engines.engine = real


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what the scheduler warns of."""
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    logger, listener = logging.getLogger("lm_eval.lora_boundary"), Listener()
    logger.addHandler(listener)
    try:
        yield heard
    finally:
        logger.removeHandler(listener)
