"""How users may write boundaries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval._cli.utils import key_val_to_dict
from lm_eval.utils import simple_parse_args_string

from lm_eval_lora_boundary.cuts.boundaries import parse_boundaries, parse_boundary
from lm_eval_lora_boundary.errors import BoundaryError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", [-1, 0, 1, 2, 3]),
        ("0-3", [0, 1, 2, 3]),
        ("-1", [-1]),
        ("-1-1", [-1, 0, 1]),
        (" 2 , 0 ", [0, 2]),
        ("1-2,2-3,-1", [-1, 1, 2, 3]),
    ],
)
def test_parse_boundaries(text: str, expected: list[int]) -> None:
    assert parse_boundaries(text, layers=4) == expected


@pytest.mark.parametrize("text", ["", "x", "1,", "1..2", "1.0", "--1", "1-2-3", "ALL"])
def test_boundaries_that_are_not_integers(text: str) -> None:
    with pytest.raises(BoundaryError, match=r"neither an integer nor a range; expected all"):
        parse_boundaries(text, layers=4)


@pytest.mark.parametrize("text", ["4", "-2", "0-4", "3-1", "-3--1"])
def test_boundaries_out_of_range(text: str) -> None:
    with pytest.raises(BoundaryError, match=r"not within -1 to 3"):
        parse_boundaries(text, layers=4)


@given(st.lists(st.integers(-1, 40), min_size=1))
def test_boundaries_are_sorted_and_distinct(boundaries: list[int]) -> None:
    text = ",".join(map(str, boundaries))
    assert parse_boundaries(text, layers=41) == sorted(set(boundaries))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("auto", "auto"), (3, 3), ("-1", -1), ("007", 7), (-1.0, -1)],
)
def test_parse_boundary(value: Any, expected: Any) -> None:
    assert parse_boundary(value) == expected


def test_minus_one_as_lm_eval_parses_it() -> None:
    arguments = simple_parse_args_string("boundary=-1")
    assert parse_boundary(arguments["boundary"]) == -1
    assert parse_boundary(key_val_to_dict("boundary=-1")["boundary"]) == -1
