"""The page says of every other kind of adapter what the package does with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support_others import OTHERS, Other
from support_page import line, lines

from lm_eval_lora_boundary.cuts.kinds import KINDS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
ALWAYS = {"IA3", "VERA"}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            each, id=each.title, marks=[] if each.peft_type in ALWAYS else pytest.mark.slow
        )
        for each in OTHERS
    ],
)
def test_the_row_of_another_kind(kind: Other, tmp_path: Path) -> None:
    row = line(kind.title, kind.about, kind.cells(tmp_path))
    assert row == lines()[kind.title], "run python tests/support/write.py"


def test_every_kind_has_a_row() -> None:
    cut = {name for name, kind in KINDS.items() if not kind.refusal}
    assert {each.peft_type for each in OTHERS} | {"LORA"} == cut
