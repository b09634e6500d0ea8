"""Every row of the page says what the package does today."""

from __future__ import annotations

from pathlib import Path

import pytest
from support_families import Family
from support_kinds import Kind
from support_others import Other
from support_page import ROWS, line, lines
from support_quantized import Quantized

pytestmark = pytest.mark.filterwarnings(
    *("ignore::UserWarning", "ignore::FutureWarning"),
    # PEFT looks for keys of experts among modules only
    "ignore:The following (rank|alpha)_pattern keys did not match:RuntimeWarning",
)

# some of each sort; the others are slow
ALWAYS = {
    # decoders: plain, scaled logits, no positions, experts, Conv1D, windows, states
    *("BLOOM", "Cohere", "Gemma 3, with images", "GPT-2", "Jamba", "Llama", "Qwen3-MoE"),
    "Zamba 2",
    # LoRA: what it selects, changes outside of the layers, overwrites, and how it is saved
    *("full paths", "module that is never called", "bias: all", "embedding and head, tied"),
    *("trainable_token_indices", "init_lora_weights: pissa", "BD-LoRA", "resized vocabulary"),
    # other kinds: with parts of its own in every layer, and with parts that all layers share
    *("IA³", "VeRA"),
}


def rows() -> list[object]:
    assert {each.title for each in ROWS} >= ALWAYS
    return [pytest.param(each, id=each.title, marks=marks(each)) for each in ROWS]


def marks(row: Family | Kind | Other | Quantized) -> tuple[pytest.MarkDecorator, ...]:
    if isinstance(row, Quantized):
        package = row.backend.package
        reason = f"pip install {package} -c constraints.txt"
        return (
            pytest.mark.skipif(not row.backend.installed, reason=reason),
            pytest.mark.filterwarnings("ignore"),  # the backends' own
        )
    return () if row.title in ALWAYS else (pytest.mark.slow,)


@pytest.mark.parametrize("row", rows())
def test_a_row(row: Family | Kind | Other | Quantized, tmp_path: Path) -> None:
    computed = line(row.title, row.about, row.cells(tmp_path))
    assert computed == lines()[row.title], "run python tests/support/write.py"
