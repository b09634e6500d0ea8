"""The regular expressions in an adapter's config.

PEFT matches them with the name of every module. One that a stranger wrote may be no expression at
all, or one that takes years to match.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import AdapterError

ALL_LINEAR = "all-linear"  # not an expression
_SECONDS = 20.0  # real expressions need milliseconds
_MOST_ENTRIES = 100_000  # of a list or an object in the config
_MANY = 200  # expressions that are matched here, if they are plain names
_PLAIN = re.compile(r"[\w.-]*")
_MATCH = """
import json, re, sys
patterns, names = json.load(sys.stdin)
for pattern in patterns:
    compiled = re.compile(pattern)
    for name in names:
        compiled.match(name)
"""


def check_patterns(raw: Mapping[str, Any], path: Path) -> None:
    """Refuse what is no regular expression, where PEFT will use it as one.

    Args:
        raw: The content of ``adapter_config.json``, with values of the right types.
        path: The file, for the message.

    Raises:
        AdapterError: There is one, or a list or object has more entries than any adapter needs.
    """
    for name, value in raw.items():
        if isinstance(value, (list, dict)) and len(value) > _MOST_ENTRIES:
            raise AdapterError(
                f"{path}: {name} has {len(value):,} entries; expected at most {_MOST_ENTRIES:,}"
            )
    for option, pattern, wrapped in _patterns(raw):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the style of the expression
                re.compile(pattern)
                re.compile(wrapped)
        except (re.error, RecursionError, OverflowError, MemoryError) as error:
            raise AdapterError(
                f"{path}: {option} is {pattern!r:.60}, which is no regular expression ({error}); "
                "expected one, or a list of names"
            ) from error


def check_matching(config: Any, names: Iterable[str], path: Path) -> None:
    """Refuse regular expressions that take too long to match with the names of modules.

    Python cannot interrupt a match, so another process tries it first.

    Args:
        config: The adapter's config.
        names: The names of all modules of the base model.
        path: The adapter's folder, for the message.

    Raises:
        AdapterError: They take too long, or too much memory.
    """
    patterns = list(_patterns(vars(config)))
    if len(patterns) <= _MANY and all(_PLAIN.fullmatch(pattern) for _, pattern, _ in patterns):
        return
    given = json.dumps([[wrapped for *_, wrapped in patterns], sorted(names)])
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", "-W", "ignore", "-c", _MATCH],
            input=given.encode("utf-8", "backslashreplace"),
            timeout=_SECONDS,
            check=True,
            capture_output=True,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        options = ", ".join(dict.fromkeys(option for option, *_ in patterns))
        raise AdapterError(
            f"{path}: the regular expressions in {options} cannot be matched with the names of "
            f"this model's modules in {_SECONDS:g} s; write the names of the modules instead"
        ) from error


def _patterns(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield option, expression, and the whole expression that PEFT makes of it."""
    for option in ("target_modules", "exclude_modules"):
        value = config.get(option)
        if isinstance(value, str) and value != ALL_LINEAR:
            yield option, value, rf"(?:{value})\Z"
    for option in ("rank_pattern", "alpha_pattern"):
        for key in config.get(option) or ():
            yield option, key, rf"(.*\.)?({key})$"
    for key in config.get("modules_to_save") or ():
        yield "modules_to_save", key, rf"(^|.*\.){key}($|\..*)"
    layers = config.get("layers_pattern") or ()
    for key in [layers] if isinstance(layers, str) else layers:
        yield "layers_pattern", key, rf"(?:^|.*?\.){key}\.(?P<idx>\d+)\."
