"""Which rows a shared forward has in each layer, and where they lie.

A row is a computation: a text, under all cuts whose strengths are the same up to this layer. Two
cuts share their rows until a layer in which their strengths differ, and two texts with the same
beginning share theirs until a token differs. So layer ``l`` has one row for every distinct pair of
a text and a beginning of a cut up to ``l``.

Rows with LoRA lie before rows without, so that the LoRA of a layer is one slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Strengths = tuple[float, ...]


class Beginnings:
    """The beginnings of a set of cuts.

    Attributes:
        strengths: The strength of every cut in every layer, shape (cuts, layers).
        numbers: A number for every cut in every layer, shape (layers, cuts): the same for cuts
            that do not differ up to this layer.
    """

    def __init__(self, cuts: Sequence[Strengths], adapted: Sequence[bool]) -> None:
        """Number the beginnings.

        Args:
            cuts: The strengths of each cut, one per layer.
            adapted: For each layer, whether it has any LoRA. Without it, a strength has no effect.
        """
        self.strengths = np.where(adapted, np.array(cuts, dtype=np.float64), 0.0)
        number = np.zeros(len(cuts), dtype=np.int64)
        numbers = []
        for column in self.strengths.T:
            pairs = np.stack([number, np.unique(column, return_inverse=True)[1]])
            number = np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)
            numbers.append(number)
        self.numbers: Indices = np.stack(numbers)

    @property
    def cuts(self) -> int:
        """Number of cuts."""
        return len(self.strengths)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.numbers)

    @property
    def passes(self) -> int:
        """Number of layer passes that a token takes, of ``cuts * layers`` in separate runs."""
        return int((self.numbers.max(axis=1) + 1).sum())


@dataclass(frozen=True)
class LayerRows:
    """The rows of one layer.

    Attributes:
        place: The row of each pair of a cut and a text, shape (pairs,).
        first: A pair of each row, shape (rows,).
        with_lora: How many rows run with LoRA; they come first.
    """

    place: Indices
    first: Indices
    with_lora: int


@dataclass(frozen=True)
class Moves:
    """How the rows of a layer come out of earlier ones.

    Attributes:
        source: The earlier row that each row continues, shape (rows,).
    """

    source: Indices

    @property
    def copied(self) -> Indices:
        """The rows that do not lie where their source lay."""
        return np.flatnonzero(self.source != np.arange(len(self.source)))


class Rows:
    """The rows of all layers for some pairs of a cut and a text.

    Attributes:
        beginnings: The beginnings of the cuts.
        cuts: The cut of each pair, shape (pairs,).
        texts: The text of each pair, shape (pairs,).
        layers: The rows of each layer.
    """

    def __init__(
        self, beginnings: Beginnings, cuts: Indices, texts: Indices, layers: list[LayerRows]
    ) -> None:
        """See the attributes."""
        self.beginnings = beginnings
        self.cuts = cuts
        self.texts = texts
        self.layers = layers

    @staticmethod
    def of(beginnings: Beginnings, texts: int) -> Rows:
        """Return rows of texts ``0..texts-1`` under all cuts; pairs are ordered by cut."""
        cuts, numbers = np.divmod(np.arange(beginnings.cuts * texts), max(texts, 1))
        empty = Rows(beginnings, cuts, numbers, [])
        empty.layers = [
            _arranged(beginnings, layer, cuts, numbers, None)[0]
            for layer in range(beginnings.layers)
        ]
        return empty

    def become(self, cuts: Indices, texts: Indices, parents: Indices) -> tuple[Rows, list[Moves]]:
        """Return the rows of other pairs, each of which continues a pair of these.

        As few rows as possible change their place.

        Args:
            cuts: The cut of each new pair.
            texts: Its text.
            parents: The pair that it continues, with the same cut.

        Returns:
            The rows, and for each layer the moves that lead there.
        """
        arranged = [
            _arranged(self.beginnings, number, cuts, texts, layer.place[parents])
            for number, layer in enumerate(self.layers)
        ]
        layers, moves = zip(*arranged, strict=True)
        return Rows(self.beginnings, cuts, texts, list(layers)), list(moves)

    def entries(self, layer: int) -> Indices:
        """Return, for each row of a layer, the row of the layer below that enters it.

        For the first layer, that is a text.
        """
        below = self.texts if layer == 0 else self.layers[layer - 1].place
        return below[self.layers[layer].first]

    def texts_of(self, layer: int) -> Indices:
        """Return the text of each row of a layer."""
        return self.texts[self.layers[layer].first]

    def strengths_of(self, layer: int) -> npt.NDArray[np.float64]:
        """Return the strength of each row with LoRA of a layer."""
        rows = self.layers[layer]
        strengths: npt.NDArray[np.float64] = self.beginnings.strengths[
            self.cuts[rows.first[: rows.with_lora]], layer
        ]
        return strengths


def _arranged(
    beginnings: Beginnings, layer: int, cuts: Indices, texts: Indices, sources: Indices | None
) -> tuple[LayerRows, Moves]:
    """Give each distinct computation of a layer a place.

    Args:
        beginnings: The beginnings of the cuts.
        layer: The layer.
        cuts: The cut of each pair.
        texts: The text of each pair.
        sources: The earlier row of each pair; None if there is none.
    """
    count = int(texts.max(initial=-1)) + 1
    keys = beginnings.numbers[layer, cuts] * count + texts
    _, first, row = np.unique(keys, return_index=True, return_inverse=True)
    row = row.reshape(-1)
    lora = beginnings.strengths[cuts[first], layer] != 0
    with_lora = int(lora.sum())
    if sources is None:
        order = np.argsort(~lora, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        source = place
    else:
        source = sources[first]
        place = _places(source, lora, with_lora)
    by_place = np.argsort(place)
    return LayerRows(place[row], first[by_place], with_lora), Moves(source[by_place])


def _places(source: Indices, lora: npt.NDArray[np.bool_], with_lora: int) -> Indices:
    """Return a place for each row: that of its source if it is free and on the right side."""
    rows = len(source)
    right = np.where(lora, source < with_lora, (source >= with_lora) & (source < rows))
    stays = np.zeros(rows, dtype=np.bool_)
    claims = np.flatnonzero(right)
    stays[claims[np.unique(source[claims], return_index=True)[1]]] = True
    place = np.where(stays, source, -1)
    free = np.ones(rows, dtype=np.bool_)
    free[source[stays]] = False
    empty = np.flatnonzero(free)
    for side, spaces in ((lora, empty[empty < with_lora]), (~lora, empty[empty >= with_lora])):
        place[side & ~stays] = spaces
    return place
