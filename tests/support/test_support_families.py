"""The page says of every family of decoders what the package does with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support_families import FAMILIES, Family
from support_page import line, lines

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

# one of each sort: plain, scaled logits, no positions, experts, Conv1D, windows, states
ALWAYS = {
    *("BLOOM", "Cohere", "Gemma 3, with images", "GPT-2", "Jamba", "Llama", "Qwen3-MoE"),
    "Zamba 2",
}


def families() -> list[object]:
    assert {each.title for each in FAMILIES} >= ALWAYS
    return [
        pytest.param(each, id=each.title, marks=[] if each.title in ALWAYS else [pytest.mark.slow])
        for each in FAMILIES
    ]


@pytest.mark.parametrize("family", families())
def test_the_row_of_a_family(family: Family, tmp_path: Path) -> None:
    row = line(family.title, family.about, family.cells(tmp_path))
    assert row == lines()[family.title], "run python tests/support/write.py"
