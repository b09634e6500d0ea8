"""The rows of a shared forward are the distinct computations, however texts part and end."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_lora_boundary.forward.rows import Beginnings, Indices, Rows, Strengths

LAYERS = 30
UPPER = [(1.0,) * kept + (0.0,) * (LAYERS - kept) for kept in range(LAYERS, -1, -1)]
EACH = [tuple(float(i != layer) for i in range(LAYERS)) for layer in range(LAYERS)]
ONLY = [tuple(1 - strength for strength in cut) for cut in EACH]


def chain(order: list[int]) -> list[Strengths]:
    return [tuple(float(i not in order[:n]) for i in range(LAYERS)) for n in range(LAYERS + 1)]


def beginnings(cuts: list[Strengths]) -> Beginnings:
    return Beginnings(cuts, [True] * len(cuts[0]))


@pytest.mark.parametrize("seed", range(5))
def test_any_nested_order_costs_what_boundaries_cost(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(LAYERS).tolist()
    for cuts in (UPPER, chain(order), chain(list(range(LAYERS)))):
        assert beginnings(cuts).passes == LAYERS * (LAYERS + 3) // 2 == 495


def test_leaving_one_out_costs_as_much_and_families_share() -> None:
    whole = (1.0,) * LAYERS
    assert beginnings([whole, *EACH]).passes == beginnings([(0.0,) * LAYERS, *ONLY]).passes == 495
    order = np.random.default_rng(0).permutation(LAYERS).tolist()
    lower = chain(list(range(LAYERS)))
    together = list(dict.fromkeys([*UPPER, *lower, *EACH, *ONLY, *chain(order)]))
    separate = sum(beginnings(cuts).passes for cuts in (UPPER, lower, EACH, ONLY, chain(order)))
    assert beginnings(together).passes < separate
    assert beginnings([whole]).passes == LAYERS


def test_strengths_share_nothing_but_their_equals() -> None:
    scaled = [(strength,) * LAYERS for strength in (0.0, 0.5, 1.0)]
    assert beginnings(scaled).passes == 3 * LAYERS
    assert beginnings([*scaled, scaled[0]]).passes == 3 * LAYERS


def test_layers_without_lora_are_shared() -> None:
    cuts = [(1.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0)]
    assert Beginnings(cuts, [True, False, False]).passes == 1 + 1 + 2 + 2
    assert Beginnings(cuts, [False] * 3).passes == 3


strengths = st.sampled_from([0.0, 1.0, 0.5, -1.0])
cut_sets = st.integers(1, 5).flatmap(
    lambda layers: st.lists(st.tuples(*[strengths] * layers), min_size=1, max_size=6, unique=True)
)


def check(rows: Rows, texts: list[tuple[int, ...]]) -> None:
    """Compare rows with the distinct pairs of a text and a beginning, found the slow way.

    Args:
        rows: The rows.
        texts: For each text, its request and all of its tokens.
    """
    cuts = rows.beginnings.strengths
    for number, layer in enumerate(rows.layers):
        places: dict[object, set[int]] = {}
        for pair, (cut, text) in enumerate(zip(rows.cuts, rows.texts, strict=True)):
            computation = (texts[text], tuple(cuts[cut][: number + 1]))
            places.setdefault(computation, set()).add(int(layer.place[pair]))
            assert (cuts[cut][number] != 0) == (layer.place[pair] < layer.with_lora)
            # the first pair of a row is one of those that share it
            first = layer.first[layer.place[pair]]
            assert layer.place[first] == layer.place[pair]
        assert all(len(each) == 1 for each in places.values())
        assert sorted(place for each in places.values() for place in each) == list(
            range(len(layer.first))
        )
        expected = [cuts[rows.cuts[pair]][number] for pair in layer.first[: layer.with_lora]]
        assert rows.strengths_of(number).tolist() == expected
        # what enters a row is the row of the layer below, or the text, of the same pairs
        below = rows.texts if number == 0 else rows.layers[number - 1].place
        assert (rows.entries(number)[layer.place] == below).all()
        assert (rows.texts_of(number)[layer.place] == rows.texts).all()


@given(cut_sets, st.integers(1, 3), st.data())
def test_rows_are_the_distinct_computations(
    cuts: list[Strengths], requests: int, data: st.DataObject
) -> None:
    rows = Rows.of(beginnings(cuts), requests)
    texts: list[tuple[int, ...]] = [(request,) for request in range(requests)]
    check(rows, texts)
    while len(rows.cuts):
        pairs = len(rows.cuts)
        token = data.draw(st.lists(st.integers(0, 2), min_size=pairs, max_size=pairs))
        # 0 ends a text
        going = [pair for pair in range(pairs) if token[pair]]
        if not going:
            break
        new = [(*texts[rows.texts[pair]], token[pair]) for pair in going]
        numbers = {text: number for number, text in enumerate(sorted(set(new)))}
        parents = np.array(going)
        of_pair: Indices = np.array([numbers[text] for text in new])
        after, moves = rows.become(rows.cuts[parents], of_pair, parents)
        for before, layer, move in zip(rows.layers, after.layers, moves, strict=True):
            # every row continues the row of its own pairs
            assert (move.source[layer.place] == before.place[parents]).all()
            copied = set(move.copied.tolist())
            # a row that is not copied lies where it lay; no two take the same place
            assert all(
                move.source[row] == row for row in range(len(layer.first)) if row not in copied
            )
        rows, texts = after, sorted(numbers, key=numbers.__getitem__)
        check(rows, texts)
        if len(texts[0]) > 4:
            break


def test_nothing_is_copied_while_cuts_write_the_same_text() -> None:
    rows = Rows.of(beginnings(UPPER), 4)
    pairs = np.arange(len(rows.cuts))
    after, moves = rows.become(rows.cuts, rows.texts, pairs)
    assert not any(len(move.copied) for move in moves)
    for before, layer in pairwise([rows.layers[0], after.layers[0]]):
        assert (before.place == layer.place).all()


def test_a_text_that_parts_copies_single_rows() -> None:
    """One of four texts writes another token under the base model than under all other cuts."""
    rows = Rows.of(beginnings(UPPER), 4)
    pairs = np.arange(len(rows.cuts))
    base_of_first = (rows.cuts == len(UPPER) - 1) & (rows.texts == 0)
    texts = np.where(base_of_first, 4, rows.texts)
    _, moves = rows.become(rows.cuts, texts, pairs)
    # the base has rows of its own from the first layer on, so nothing is shared and nothing parts
    assert sum(len(move.copied) for move in moves) == 0
    whole_of_first = (rows.cuts == 0) & (rows.texts == 0)
    texts = np.where(whole_of_first, 4, rows.texts)
    _, moves = rows.become(rows.cuts, texts, pairs)
    # in every layer but the last, one row with LoRA becomes two, and one without makes room
    assert [len(move.copied) for move in moves] == [2] * (LAYERS - 1) + [0]
