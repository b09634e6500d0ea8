"""A merged checkpoint equals the merged cut in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from export_helpers import load_base, logits, run
from model_helpers import logits as lm_logits
from model_helpers import make
from tiny_models import ARCHITECTURES, LAYERS

pytestmark = pytest.mark.filterwarnings("ignore:.*tied.*:UserWarning")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(tiny: Any, tmp_path: Path, architecture: str) -> None:
    base, adapter = tiny(architecture)
    facts = run(base, adapter, 1, tmp_path / "out", merge=True)
    assert facts["max_difference"] == 0.0
    assert facts["merge"] is True
    expected = lm_logits(make(base, adapter, boundary=1, merge=True))
    assert torch.equal(logits(load_base(tmp_path / "out")), expected)
    assert not (tmp_path / "out" / "adapter_config.json").exists()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"use_dora": True},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*save_embedding_layers.*:UserWarning")
def test_embeddings_and_head(
    tiny: Any, tmp_path: Path, tied: bool, settings: dict[str, Any]
) -> None:
    base, adapter = tiny("llama", tied=tied, **settings)
    for boundary in (1, LAYERS - 1):
        output = tmp_path / f"{boundary}"
        run(base, adapter, boundary, output, merge=True)
        expected = lm_logits(make(base, adapter, boundary=boundary, merge=True))
        assert torch.equal(logits(load_base(output)), expected)


def test_a_merged_checkpoint_runs_in_plain_lm_eval(tiny: Any, tmp_path: Path) -> None:
    base, adapter = tiny()
    run(base, adapter, 1, tmp_path / "out", merge=True, dtype="bfloat16")
    found = make(tmp_path / "out", dtype="bfloat16")
    assert torch.equal(
        lm_logits(found), lm_logits(make(base, adapter, boundary=1, merge=True, dtype="bfloat16"))
    )
