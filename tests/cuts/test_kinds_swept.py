"""Adapters that are not LoRA in a sweep: one cut after another, and the reason is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from adapter_kinds import save_kind
from model_helpers import requests
from sweep_helpers import answering, close, separately
from tiny_models import LAYERS

from lm_eval_lora_boundary.sweeps.store import AnswerStore

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("name", ["ADALORA", "VERA"])
def test_the_sweep_equals_separate_runs(
    name: str, tiny: Callable[..., tuple[Path, Path]], store: AnswerStore, tmp_path: Path
) -> None:
    base, _ = tiny()
    adapter = save_kind(tmp_path / "adapter", name)
    cuts = [-1, 1, LAYERS - 1]
    swept = answering(base, adapter, store, cuts=cuts)
    assert "only LoRA's rows can share a pass" in swept.engines.reason
    asked = requests("loglikelihood")[:4]
    for cut in cuts:
        alone = separately(base, adapter, cut, asked)
        assert all(close(a, b) for a, b in zip(swept.at(cut, asked), alone, strict=True))
