"""What the names of base models say: whether two mean the same weights, and their precision.

Names are hub ids or paths. A hub id always names a released model. The last part of a path is
taken for a model's name only if it has a size, such as ``7b``: anything else, such as
``checkpoint-500``, tells nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

_HUB_ID = re.compile(r"(?P<owner>\w[\w.-]*)/[\w.-]+")
_SIZE = re.compile(r"(?<![a-z0-9])(\d+x)?\d+([._]\d+)?[bm](?![a-z0-9])|\d[bm](?=$|[-_.])", re.I)
_CACHED = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/[^/]+$")
# what people call the folders that they keep models in
_FOLDERS = re.compile(
    r"(hf_|base_|local_|pretrained_|my_)?"
    r"(models?|outputs?|checkpoints?|ckpts?|weights|data|runs?|results|cache|pretrained|llms?"
    r"|tmp|mnt|home|root|workspace|content)",
    re.I,
)
# ways to store the same model: they say nothing about which model it is
_STORED = re.compile(
    r"[-_.](hf|unsloth|bnb|nf4|fp4|fp8|fp16|bf16|fp32|gguf|gptq|awq|quantized|dynamic|128g"
    r"|(4|8|16|32)[-_.]?bits?|int[48]|q[2-8](_[k0-9])?(_[sml])?|w4a16|w8a8|w8a16)$",
    re.I,
)
_QUANTISED = (
    (4, r"(?<!\d)4[-_.]?bits?|int4|nf4|fp4|w4a16"),
    (8, r"(?<!\d)8[-_.]?bits?|int8|fp8|w8a8|w8a16"),
    (4, r"gptq|awq"),  # unless they say otherwise
    (16, r"(?<!\d)16[-_.]?bits?|fp16|bf16|float16|bfloat16"),
    (32, r"(?<!\d)32[-_.]?bits?|fp32|float32"),
)


def differ(named: str, loaded: str, origins: Sequence[str] = ()) -> bool:
    """Return whether two names are known to mean different base models.

    Args:
        named: The name in an adapter's config.
        loaded: What was loaded.
        origins: Other names of what was loaded, such as those in its own config.
    """
    others = [_plain(each) for each in (loaded, *origins) if each.strip()]
    name = _plain(named)
    if not name or not others or any(_same(name, other) for other in others):
        return False
    return _is_model_name(name) and any(_is_model_name(other) for other in others)


def bits(name: str) -> int | None:
    """Return the precision of the weights that a model's name speaks of; None if it does not."""
    last = _last(_plain(name))
    for size, pattern in _QUANTISED:
        if re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", last, re.I):
            return size
    return None


def is_packed(name: str) -> bool:
    """Return whether a model's name says that its weights were quantised by GPTQ or AWQ."""
    return re.search(r"gptq|awq", _last(name), re.I) is not None


def _plain(name: str) -> str:
    """Return a name without what does not count; a folder of the hub's cache as its hub id."""
    plain = name.strip().replace("\\", "/").rstrip("/")
    cached = _CACHED.search(plain)
    return f"{cached[1]}/{cached[2]}" if cached else plain


def _last(name: str) -> str:
    return PurePath(name).name


def _same(name: str, other: str) -> bool:
    return name.lower() == other.lower() or _model(name) == _model(other)


def _model(name: str) -> str:
    """Return the name of a model, however it is spelled and its weights are stored."""
    last = _last(name).lower()
    while stored := _STORED.search(last):
        last = last[: stored.start()]
    return re.sub(r"[^a-z0-9]", "", last.removeprefix("meta-"))


def _is_model_name(name: str) -> bool:
    hub_id = _HUB_ID.fullmatch(name)
    if hub_id and not _FOLDERS.fullmatch(hub_id["owner"]):
        return True
    return _SIZE.search(_last(name)) is not None
