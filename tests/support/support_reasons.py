"""Error messages in the few words that fit into a cell."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from typing import Any

MOST = 160  # letters


def reason(message: object) -> str:
    """Return what a message says first, without paths and remedies."""
    text = " ".join(str(message).split())
    text = re.sub(r"/\S*/adapter\S*", "the adapter", text)
    text = re.sub(r"/\S*/base\S*", "the base model", text)
    # examples, and remedies in passing
    text = re.sub(r" \((?:such as|first:)? ?[^()]*; [^()]*\)| \(such as [^)]*\)", "", text)
    first = re.split(r"; |(?<=\w)\. (?=[A-Z])", text)[0].rstrip(".").replace("|", "/")
    if len(first) <= MOST:
        return first
    return first[:MOST].rsplit(" ", 1)[0] + " …"


def short(value: Any) -> str:
    """Return a setting as the page shows it."""
    if is_dataclass(value):
        return "default" if value == type(value)() else "set"
    if isinstance(value, dict):
        return ", ".join(f"{name} → {short(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(short, value))
    return f"`{value}`" if isinstance(value, str) else str(value)
