"""Check an ``adapter_config.json`` against the types that PEFT declares, before PEFT reads it.

PEFT itself takes any value, and fails later, wherever it uses one.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from peft import LoraConfig

from ..errors import AdapterError
from .patterns import check_patterns

_MOST_STEPS = 1000
# declared as optional, but PEFT asks them for their keys
_NEVER_NULL = ("rank_pattern", "alpha_pattern")


def check_types(raw: Mapping[str, Any], config: type[Any], path: Path) -> None:
    """Refuse a value of another type than PEFT declares; options that it does not know are ignored.

    Args:
        raw: The content of the file.
        config: PEFT's class for it.
        path: The file, for the message.

    Raises:
        AdapterError: A value cannot be what its option says.
    """
    hints = get_type_hints(config)
    for each in fields(config):
        if each.name not in raw:
            continue
        value, hint = raw[each.name], hints[each.name]
        if each.name in _NEVER_NULL and each.default_factory is not MISSING:
            hint = dict
        if each.name in ("lora_alpha", "alpha") and hint is int:  # and in use as any number
            hint = float
        if not _fits(value, hint):
            raise AdapterError(f"{path}: {each.name} is {value!r:.60}; expected {_described(hint)}")
    # other kinds can do without a rank, or take 0 for one that they find out
    needed = [("r", raw["r"])] if "lora_alpha" in hints and raw.get("r") is not None else []
    for name, rank in [*needed, *_entries(raw, "rank_pattern")]:
        if config is not LoraConfig and isinstance(rank, list):
            continue  # AdaLoRA has the ranks that it keeps there
        if not _fits(rank, int):
            raise AdapterError(f"{path}: {name} is {rank!r:.60}; expected an integer")
        if rank < 1:
            raise AdapterError(f"{path}: {name} is {rank}; expected at least 1")
    for name, alpha in _entries(raw, "alpha_pattern"):
        if not _fits(alpha, float):
            raise AdapterError(f"{path}: {name} is {alpha!r:.60}; expected a number")
    steps = re.search(r"_niter_(\d+)$", str(raw.get("init_lora_weights")))
    loftq = raw.get("loftq_config") or {}
    for name, count in (
        ("init_lora_weights", int(steps[1][:9]) if steps else 0),
        ("loftq_config.loftq_iter", loftq.get("loftq_iter", 0)),
    ):
        if not _fits(count, int) or count > _MOST_STEPS:
            raise AdapterError(
                f"{path}: {name} asks for {count!r:.60} steps, which PEFT takes for every module "
                f"when it loads the adapter; expected at most {_MOST_STEPS}"
            )
    check_patterns(raw, path)


def _entries(raw: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    """Yield the entries of an object that may be missing, with names for messages."""
    return ((f"{name}[{key!r:.60}]", value) for key, value in (raw.get(name) or {}).items())


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value read from JSON can be of a type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in arguments)
    if origin is Literal:
        # PEFT's own lists of names are not complete: pissa_niter_16
        return any(isinstance(value, type(each)) for each in arguments)
    if origin in (list, set, tuple) or hint in (list, set, tuple):
        if not isinstance(value, list):
            return False
        if origin is tuple and Ellipsis not in arguments:
            return len(value) == len(arguments) and all(map(_fits, value, arguments))
        return all(_fits(each, arguments[0]) for each in value) if arguments else True
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            return False
        return all(_fits(each, arguments[1]) for each in value.values()) if arguments else True
    if hint is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return isinstance(value, str)
    if isinstance(hint, type) and is_dataclass(hint):
        return isinstance(value, dict) and value.keys() <= {each.name for each in fields(hint)}
    if isinstance(hint, type) and issubclass(hint, dict):
        return isinstance(value, dict)
    if hint is None or hint is type(None):
        return value is None
    return isinstance(value, hint) if isinstance(hint, type) else True


def _described(hint: Any) -> str:
    """Return a type in the words of JSON."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_described(each) for each in arguments))
    if origin is Literal:
        return " or ".join(dict.fromkeys(_described(type(each)) for each in arguments))
    if origin in (list, set, tuple):
        return f"a list of {_plural(arguments[0])}" if arguments else "a list"
    names = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
    names |= {type(None): "null", list: "a list"}
    if isinstance(hint, type) and is_dataclass(hint):
        return f"an object with the keys of PEFT's {hint.__name__}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "text"
    return names.get(hint, "an object")


def _plural(hint: Any) -> str:
    return {str: "texts", int: "integers"}.get(hint, "lists" if get_origin(hint) else "values")
