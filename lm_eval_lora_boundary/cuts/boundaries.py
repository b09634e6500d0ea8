"""How a user may write a boundary, or several."""

from __future__ import annotations

import re
from contextlib import suppress

from ..errors import BoundaryError


def parse_boundary(value: object) -> int | str | None:
    """Return a boundary given by a user: an integer, ``"auto"``, or None for the whole adapter.

    Raises:
        BoundaryError: It is anything else.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, float) and value < 0 and value.is_integer():
        # lm-eval's command line reads digits as an integer, but "-1" as the float -1.0
        return int(value)
    if isinstance(value, str):
        if value == "auto":
            return value
        with suppress(ValueError):
            return int(value)
    given = "empty" if value == "" else repr(value)
    raise BoundaryError(
        f"boundary is {given}; expected an integer (the last layer that keeps its part of the "
        "adapter, -1 for none) or auto"
    )


def check_boundary(boundary: int, layers: int) -> int:
    """Return ``boundary`` if it is an integer in ``-1..layers-1``.

    Raises:
        BoundaryError: It is not.
    """
    if isinstance(boundary, bool) or not isinstance(boundary, int):
        raise BoundaryError(
            f"boundary={boundary!r} is not an integer; expected -1..{layers - 1}, the last layer "
            "that keeps its part of the adapter"
        )
    if not -1 <= boundary < layers:
        raise BoundaryError(
            f"boundary={boundary} is out of range: this model has {layers} layers, so expected "
            f"-1 (keep none) to {layers - 1} (keep all)"
        )
    return boundary


def parse_boundaries(text: str, layers: int) -> list[int]:
    """Return the boundaries written as ``all``, a list ``-1,10,20`` or ranges ``0-29``, ascending.

    Raises:
        BoundaryError: A part is neither an integer nor a range, or is out of range.
    """
    if text.strip() == "all":
        return list(range(-1, layers))
    boundaries: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(-?\d+)(?:\s*-\s*(-?\d+))?\s*", part)
        if match is None:
            raise BoundaryError(
                f"boundaries={text!r}: {part!r} is neither an integer nor a range; expected all, "
                f"a range such as 0-{layers - 1}, or a list such as -1,{layers // 2}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not -1 <= first <= last < layers:
            raise BoundaryError(
                f"boundaries={text!r}: {part.strip()} is not within -1 to {layers - 1}, the "
                f"boundaries of a model with {layers} layers"
            )
        boundaries.update(range(first, last + 1))
    return sorted(boundaries)
