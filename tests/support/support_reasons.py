"""Error messages in the few words that fit into a cell."""

from __future__ import annotations

import re

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
