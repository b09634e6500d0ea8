"""Values and files that a stranger may write, drawn from a seeded generator."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

TEXTS = [
    "",
    " ",
    "../../../etc/passwd",
    "/dev/zero",
    "a/../../b",
    "x" * 400,
    "name\x00null",
    "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07link",
    "carriage\rreturn \x07bell \x9b31m",
    "line\nline\r\nline\u2028line\u2029line\x85line",
    "\ud800 half",
    "\u202eturned\u2066",
    "[red]rich[/red] [link=https://evil.example]x[/link] :bomb: [/]",
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "=cmd|' /C calc'!A0",
    "| a | `b` | [c](javascript:d) | <b> |",
    "{{ 7 * 7 }}{% include 'x' %}",
    "%s %d %n {0} {}",
    "(a+)+$",
    "(",
    "---\nname: x\n...",
    "nan",
    "-1",
    "1e999",
    "acc,none",
    "boundary=0",
    "0-1@nan",
    "0-99999999999999999999",
]
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**9,
    10**40,
    10**400,
    -(10**18),
    0.5,
    -0.0,
    1e308,
    5e-324,
    float("nan"),
    float("inf"),
    float("-inf"),
    [],
    {},
    [[]],
    {"": {}},
    [None],
    [1, "a", None],
    [["nan", "True"]],
    *TEXTS,
]


def value(source: random.Random, depth: int = 0) -> Any:
    """Draw a JSON value, mostly a simple one."""
    kind = source.random()
    if kind < 0.8 or depth > 3:
        return copy.deepcopy(source.choice(VALUES))
    if kind < 0.9:
        return [value(source, depth + 1) for _ in range(source.randrange(4))]
    return {source.choice(TEXTS): value(source, depth + 1) for _ in range(source.randrange(4))}


def places(found: Any) -> list[tuple[Any, Any]]:
    """Return container and key of everything in a JSON value."""
    result: list[tuple[Any, Any]] = []
    waiting = [found]
    while waiting:
        each = waiting.pop()
        if isinstance(each, (dict, list)):
            keys = list(each) if isinstance(each, dict) else range(len(each))
            result += [(each, key) for key in keys]
            waiting += [each[key] for key in keys]
    return result


def changed(source: random.Random, found: Any) -> Any:
    """Return a JSON value with one to four entries replaced, removed, renamed, moved or added."""
    result = json.loads(json.dumps(found))
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        known = places(result)
        if not known:
            return value(source)
        container, key = source.choice(known)
        action = source.random()
        if action < 0.5:
            container[key] = value(source)
        elif action < 0.6:
            del container[key]
        elif action < 0.7:  # something else of the same file, of another type
            other, name = source.choice(known)
            container[key] = json.loads(
                json.dumps(other.get(name) if isinstance(other, dict) else 0)
            )
        elif isinstance(container, dict):
            name = source.choice(TEXTS)
            container[name] = container.pop(key) if action < 0.85 else value(source)
        else:
            container.insert(source.randrange(len(container) + 1), value(source))
    return result


def json_bytes(source: random.Random, found: Any) -> bytes:
    """Return a JSON value as text, now and then in a form that no writer has."""
    text = json.dumps(found)
    form = source.random()
    if form < 0.9:
        return text.encode()
    if form < 0.92:
        depth = source.choice((60, 101, 900, 5_000, 200_000))
        return text.replace(": ", ": " + "[" * depth + "]" * depth + ', "x": ', 1).encode()
    if form < 0.94:
        return text.replace("{", '{"a": 1, "a": 2, ', 1).encode()
    if form < 0.96:
        return text.replace(
            ": ", ": " + "9" * source.choice((30, 400, 5000)) + ', "y": ', 1
        ).encode()
    if form < 0.98:
        return text.encode(source.choice(("utf-16", "utf-8-sig", "utf-32")))
    return damaged(source, text.encode())


def damaged(source: random.Random, content: bytes) -> bytes:
    """Return bytes that are cut short, flipped, repeated or filled."""
    result = bytearray(content)
    kind = source.randrange(6)
    if kind == 0 or not result:
        return bytes(result[: source.randrange(len(result) + 1)])
    for _ in range(source.choice((1, 1, 3, 20))):
        start = source.randrange(len(result))
        if kind == 1:
            result[start] ^= 1 << source.randrange(8)
        elif kind == 2:
            result[start] = source.randrange(256)
        elif kind == 3:
            result[start:start] = result[start : start + source.randrange(64)]
        elif kind == 4:
            result[start : start + source.randrange(64)] = b""
        else:
            result[start : start + 8] = source.choice((b"\0" * 8, b"\xff" * 8, b"\x7f" * 8))
        if not result:
            break
    return bytes(result)


def write(path: Path, content: bytes) -> None:
    """Write a file where there may be anything."""
    clear(path)
    path.write_bytes(content)


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def no_file(source: random.Random, path: Path) -> None:
    """Put something that is no ordinary file in the place of one."""
    clear(path)
    kind = source.randrange(7)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(source.choice(("/dev/zero", "/dev/full", "/proc/self/mem", "/proc/kmsg")))
    elif kind == 3:
        path.symlink_to(path.name)
    elif kind == 4:
        path.symlink_to("missing")
    elif kind == 5:
        path.write_bytes(b"")
    else:  # a terabyte that takes no room on disk
        with path.open("wb") as file:
            file.truncate(2**40)
