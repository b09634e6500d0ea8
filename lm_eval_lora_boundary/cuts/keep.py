"""A cut: how much of the adapter each layer keeps, and how a user may write it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..errors import BoundaryError
from .boundaries import check_boundary

_PART = re.compile(r"(all|\d+(?:-\d+)?)(?:@(.+))?")
EXAMPLES = "0-20, 0-9+20-29, all@0.7, 0-9+10-19@0.5, all or none"


@dataclass(frozen=True)
class Cut:
    """A strength per layer for the adapter.

    Attributes:
        strengths: One per decoder layer: 1 keeps the layer's LoRA, 0 drops it, others scale it.
    """

    strengths: tuple[float, ...]

    @staticmethod
    def up_to(boundary: int, layers: int) -> Cut:
        """Return the cut that keeps layers ``0..boundary`` of ``layers``.

        Raises:
            BoundaryError: The boundary is not an integer in ``-1..layers-1``.
        """
        kept = check_boundary(boundary, layers) + 1
        return Cut((1.0,) * kept + (0.0,) * (layers - kept))

    @property
    def boundary(self) -> int | None:
        """K if this cut keeps exactly layers ``0..K``, -1 if it keeps none, otherwise None."""
        kept = sum(strength != 0 for strength in self.strengths)
        ends_there = self == Cut.up_to(kept - 1, len(self.strengths))
        return kept - 1 if ends_there else None

    @property
    def name(self) -> int | str:
        """What ``sweep.json`` calls the cut: its boundary if it has one, else its notation."""
        return self.notation if self.boundary is None else self.boundary

    @property
    def size(self) -> tuple[float, bool, str]:
        """Sorts cuts by how much of the adapter they keep; boundaries come before their equals."""
        return sum(map(abs, self.strengths)), self.boundary is None, self.notation

    @property
    def keeps_none(self) -> bool:
        """Whether every layer is dropped."""
        return not any(self.strengths)

    @property
    def keeps_all(self) -> bool:
        """Whether every layer is kept in full: the whole adapter."""
        return all(strength == 1 for strength in self.strengths)

    @property
    def lowest_dropped(self) -> int:
        """The lowest layer that is dropped; the number of layers if none is."""
        return next((i for i, s in enumerate(self.strengths) if s == 0), len(self.strengths))

    @property
    def notation(self) -> str:
        """The shortest text that :func:`parse_keep` reads as this cut."""
        if self.keeps_none:
            return "none"
        return "+".join(self._parts())

    def _parts(self) -> Iterator[str]:
        last = len(self.strengths) - 1
        for strength, group in groupby(range(last + 1), key=self.strengths.__getitem__):
            if strength == 0:
                continue
            first, *rest = group
            end = rest[-1] if rest else first
            layers = f"{first}-{end}" if rest else str(first)
            if (first, end) == (0, last):
                layers = "all"
            short = f"{strength:g}"
            number = short if float(short) == strength else repr(strength)
            number = number.replace("e+", "e")  # `+` joins ranges
            yield layers if strength == 1 else f"{layers}@{number}"

    def __str__(self) -> str:
        """Return how the cut is named in messages: by its boundary if it has one."""
        return f"keep={self.notation}" if self.boundary is None else f"boundary={self.boundary}"


def parse_keep(keep: object, layers: int) -> Cut:
    """Return the cut that a user wrote.

    Args:
        keep: Ranges of layers joined by ``+``, each with an optional strength after ``@``
            (``0-9+10-19@0.5``), ``all`` or ``none``. In Python also a list of distinct layers, or
            a list with a strength for every layer.
        layers: Number of decoder layers, N.

    Raises:
        BoundaryError: It is anything else; a layer does not exist or is named twice; a strength is
            not a finite number.
    """
    if isinstance(keep, int) and not isinstance(keep, bool):
        keep = str(keep)  # lm-eval turns a single layer into a number
    if isinstance(keep, str):
        return _parse_text(keep, layers)
    if isinstance(keep, Sequence) and all(_is_number(value) for value in keep):
        whole = all(isinstance(value, int) for value in keep)
        if whole and len(set(keep)) == len(keep):
            return _from_ranges([(layer, layer, 1.0) for layer in keep], layers, str(list(keep)))
        if len(keep) == layers and all(map(math.isfinite, keep)):
            return Cut(tuple(float(value) for value in keep))
    raise BoundaryError(
        f"keep={keep!r}; expected layers such as {EXAMPLES}, or in Python a list of distinct "
        f"layers or of {layers} finite strengths"
    )


def as_cut(name: int | str, layers: int) -> Cut:
    """Return the cut with a :attr:`Cut.name`.

    Raises:
        BoundaryError: It is not the name of a cut of a model with this number of layers.
    """
    return Cut.up_to(name, layers) if isinstance(name, int) else parse_keep(name, layers)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _parse_text(text: str, layers: int) -> Cut:
    if text.strip() == "none":
        return Cut((0.0,) * layers)
    ranges = []
    for part in text.split("+"):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise BoundaryError(
                f"keep={text!r}: {part.strip()!r} is not a layer, a range, all or none; expected "
                f"for example {EXAMPLES}"
            )
        strength = _strength(match[2], text)
        if match[1] == "all":
            ranges.append((0, layers - 1, strength))
        else:
            first, _, last = match[1].partition("-")
            ranges.append((int(first), int(last or first), strength))
    return _from_ranges(ranges, layers, text)


def _strength(text: str | None, keep: str) -> float:
    try:
        strength = 1.0 if text is None else float(text)
    except ValueError:
        strength = math.nan
    if not math.isfinite(strength):
        raise BoundaryError(
            f"keep={keep!r}: the strength {text!r} is not a finite number; expected for example "
            "0-19@0.5"
        )
    return strength


def _from_ranges(ranges: Sequence[tuple[int, int, float]], layers: int, keep: str) -> Cut:
    strengths: dict[int, float] = {}
    for first, last, strength in ranges:
        if first > last:
            raise BoundaryError(
                f"keep={keep}: the range {first}-{last} is empty; write the lower layer first"
            )
        if not 0 <= first <= last < layers:
            raise BoundaryError(
                f"keep={keep}: this model has {layers} layers, so expected layers from 0 to "
                f"{layers - 1}"
            )
        for layer in range(first, last + 1):
            if layer in strengths:
                raise BoundaryError(f"keep={keep}: layer {layer} is named twice; name it once")
            strengths[layer] = strength
    return Cut(tuple(strengths.get(layer, 0.0) for layer in range(layers)))
