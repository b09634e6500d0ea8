"""Families of cuts: named lists of cuts that a sweep can score.

A family is a function from :class:`Adapted`, which says what can be cut, and from the text after
the name (``3`` in ``random:3``) to a list of cuts. To add one, write such a function and list it in
``FAMILIES``.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import BoundaryError, LoraBoundaryError
from .keep import EXAMPLES, Cut, parse_keep

DEFAULT = "upper"
_SCALES = tuple(i / 10 for i in range(12))  # 0, 0.1, … 1.1
Importance = Mapping[int, float]  # by layer


@dataclass(frozen=True)
class Adapted:
    """What a family may know of a model with an adapter.

    Attributes:
        count: Number of layers, N.
        layers: The layers that the adapter changes, ascending.
        importance: By name of a measure, a function that returns how much each of these layers
            matters. It may take long.
    """

    count: int
    layers: Sequence[int]
    importance: Mapping[str, Callable[[], Importance]]

    def only(self, kept: Sequence[int]) -> Cut:
        """Return the cut that keeps some layers, as a boundary if it equals one.

        Layers without LoRA do not matter, so that each model has one cut.
        """
        left = [layer for layer in self.layers if layer in kept]
        if left == list(self.layers):
            return Cut.up_to(self.count - 1, self.count)
        if left == list(self.layers[: len(left)]):
            return Cut.up_to(left[-1] if left else -1, self.count)
        return Cut(tuple(float(layer in left) for layer in range(self.count)))

    def without(self, dropped: Sequence[int]) -> Cut:
        """Return the whole adapter without some layers."""
        return self.only([layer for layer in self.layers if layer not in dropped])

    def order(self, dropped: Sequence[int]) -> list[Cut]:
        """Return the nested cuts, from the whole adapter to the base, that drop layers in turn."""
        return [self.without(dropped[:number]) for number in range(len(dropped) + 1)]

    def least_first(self, measure: str) -> list[Cut]:
        """Return the order that drops the least important layer first; in a tie, the upper one."""
        importance = self.importance[measure]()
        return self.order(sorted(self.layers, key=lambda layer: (importance[layer], -layer)))


@dataclass(frozen=True)
class Family:
    """A family of cuts of one model.

    Attributes:
        name: As the user gave it; of a list, without the folder that its file is in.
        kind: ``order``, ``each``, ``only``, ``scale`` or ``list``.
        cuts: The cuts. An order runs from the whole adapter to the base.
        layers: For ``each`` and ``only``, the layer of every cut.
        adapted: The layers that the adapter changes.
    """

    name: str
    kind: str
    cuts: Sequence[Cut]
    layers: Sequence[int] = ()
    adapted: Sequence[int] = ()

    @property
    def signature(self) -> str:
        """What was asked for: the name, and for a list, a hash of its cuts."""
        if self.kind != "list":
            return self.name
        lines = "\n".join(cut.notation for cut in self.cuts)
        return f"{self.name} of {hashlib.sha256(lines.encode()).hexdigest()[:12]}"

    def keep(self, scored: Container[Cut]) -> Family:
        """Return the family without the cuts that are not scored."""
        places = [place for place, cut in enumerate(self.cuts) if cut in scored]
        layers = [self.layers[place] for place in places] if self.layers else ()
        return replace(self, cuts=[self.cuts[place] for place in places], layers=layers)


def upper(model: Adapted, _: str) -> list[Cut]:
    """Drop from the top: the boundaries N-1, …, 0, -1."""
    return model.order(sorted(model.layers, reverse=True))


def lower(model: Adapted, _: str) -> list[Cut]:
    """Drop from the bottom."""
    return model.order(model.layers)


def shuffled(model: Adapted, seed: str) -> list[Cut]:
    """Drop in a random order."""
    layers = list(model.layers)
    random.Random(int(seed or 0)).shuffle(layers)
    return model.order(layers)


def norm(model: Adapted, _: str) -> list[Cut]:
    """Drop the layer with the smallest LoRA update first."""
    return model.least_first("norm")


def output(model: Adapted, _: str) -> list[Cut]:
    """Drop the layer with the smallest LoRA output first (LoRA-drop, arXiv 2402.07721)."""
    return model.least_first("output")


def by_map(model: Adapted, _: str) -> list[Cut]:
    """Drop the layer first whose loss costs the least alone."""
    return model.least_first("map")


def each(model: Adapted, _: str) -> list[Cut]:
    """Leave one layer out."""
    return [model.without([layer]) for layer in model.layers]


def only(model: Adapted, _: str) -> list[Cut]:
    """Keep one layer alone."""
    return [model.only([layer]) for layer in model.layers]


def scale(model: Adapted, strengths: str) -> list[Cut]:
    """Scale the whole adapter."""
    chosen = [float(part) for part in strengths.split(":")] if strengths else _SCALES
    return [Cut((strength,) * model.count) for strength in chosen]


def listed(model: Adapted, path: str) -> list[Cut]:
    """Read cuts from a file, one per line; ``#`` begins a comment."""
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BoundaryError(f"{path} cannot be read: {error}") from error
    cuts = []
    for number, line in enumerate(lines, start=1):
        if text := line.partition("#")[0].strip():
            try:
                cuts.append(parse_keep(text, model.count))
            except BoundaryError as error:
                raise BoundaryError(f"{path}, line {number}: {error}") from error
    if not cuts:
        raise BoundaryError(f"{path} holds no cut; expected one per line, such as {EXAMPLES}")
    return list(dict.fromkeys(cuts))


# orders that need the model, or its answers
MEASURED = ("norm", "output", "map")
FAMILIES: dict[str, tuple[str, Callable[[Adapted, str], list[Cut]]]] = {
    "upper": ("order", upper),
    "lower": ("order", lower),
    "random": ("order", shuffled),
    "norm": ("order", norm),
    "output": ("order", output),
    "map": ("order", by_map),
    "each": ("each", each),
    "only": ("only", only),
    "scale": ("scale", scale),
    "file": ("list", listed),
}
_EXPECTED = (
    "expected upper, lower, random[:SEED], norm, output, map, each, only, scale[:λ1:λ2…] or "
    "file:PATH, comma-separated"
)


def check_families(names: Sequence[str]) -> None:
    """Refuse families that do not exist, or whose arguments cannot be used.

    Raises:
        LoraBoundaryError: A name is unknown, its argument is not what the family takes, or two
            lists have one name.
    """
    lists: dict[str, str] = {}
    for name in names:
        _check_family(name)
        title = _title(name)
        if lists.setdefault(title, name) != name:
            raise LoraBoundaryError(
                f"family={lists[title]},{name}: reports would call both {title}; give one of the "
                "files another name"
            )


def _title(name: str) -> str:
    """Return what reports call a family."""
    family, _, argument = name.partition(":")
    return f"file:{Path(argument).name}" if family == "file" else name


def _check_family(name: str) -> None:
    kind, _, argument = name.partition(":")
    problem = ""
    if kind not in FAMILIES:
        problem = "there is no such family"
    elif kind == "random":
        problem = "" if argument.isdecimal() or name == kind else "the seed is not a whole number"
    elif kind == "scale":
        parts = argument.split(":") if name != kind else []
        problem = "" if all(map(_is_finite, parts)) else "a strength is not a finite number"
    elif kind == "file":
        if not argument or not Path(argument).expanduser().is_file():
            problem = f"there is no file {argument!r}"
    elif name != kind:
        problem = f"{kind} takes no argument"
    if problem:
        raise LoraBoundaryError(f"family={name}: {problem}; {_EXPECTED}")


def make_family(name: str, model: Adapted) -> Family:
    """Return the cuts of a family that passed :func:`check_families`.

    Raises:
        BoundaryError: A line of a file is not a cut of this model.
        LoraBoundaryError: The order of the layers cannot be found for this model.
    """
    family, _, argument = name.partition(":")
    kind, make = FAMILIES[family]
    layers = model.layers if kind in ("each", "only") else ()
    return Family(_title(name), kind, make(model, argument), layers, model.layers)


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
