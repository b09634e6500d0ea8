"""The adapters of every epoch, and options that change the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from train_helpers import Interrupted, record, tensors

from lm_eval_lora_boundary.cuts.adapter_folder import open_adapter
from lm_eval_lora_boundary.harness.training_record import read_training
from lm_eval_lora_boundary.train.run import train
from lm_eval_lora_boundary.train.settings import TrainSettings


def equal(one: Path, other: Path) -> bool:
    a, b = tensors(one), tensors(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_epoch_is_kept(settings: TrainSettings, tmp_path: Path) -> None:
    kept = replace(settings, epochs=2.5, save_epochs=True)
    folder = train(kept, tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["epoch=1", "epoch=2"]
    first, second = (folder / f"epoch={epoch}" for epoch in (1, 2))
    for number, epoch in enumerate((first, second), start=1):
        facts = record(epoch)
        assert (facts["epoch"], facts["steps"], facts["finished"]) == (number, 3 * number, True)
        assert facts["adapter_sha256"] == open_adapter(epoch).sha256
        known = read_training(str(epoch))
        assert known is not None and known.task == settings.task
        assert len({path.stat().st_mode for path in epoch.iterdir()}) == 1
    assert not equal(first, second) and not equal(second, folder)
    # to keep them changes nothing
    assert equal(folder, train(replace(kept, save_epochs=False), tmp_path / "plain"))


def test_the_last_epoch_is_the_adapter(settings: TrainSettings, tmp_path: Path) -> None:
    folder = train(replace(settings, save_epochs=True), tmp_path / "out")
    assert equal(folder / "epoch=2", folder)


@pytest.mark.parametrize("forwards", [5, 6, 7])  # at the end of epoch 1, and at both sides of it
def test_a_resumed_run_keeps_the_same_epochs(
    settings: TrainSettings,
    interrupt_after: Callable[[int], None],
    tmp_path: Path,
    forwards: int,
) -> None:
    kept = replace(settings, save_epochs=True, save_steps=1)
    whole = train(kept, tmp_path / "whole")
    interrupt_after(forwards)
    with pytest.raises(Interrupted):
        train(kept, tmp_path / "resumed")
    resumed = train(kept, tmp_path / "resumed")
    for part in ("", "epoch=1", "epoch=2"):
        assert equal(whole / part, resumed / part)
    assert not list(resumed.glob(".*"))


@pytest.mark.parametrize(
    "change", [{"lr": 2e-2}, {"seed": 1}, {"dropout": 0.5}, {"weight_decay": 0.5}, {"epochs": 1}]
)
def test_options_change_the_adapter(
    settings: TrainSettings, tmp_path: Path, change: dict[str, Any]
) -> None:
    usual = train(settings, tmp_path / "usual")
    assert not equal(usual, train(replace(settings, **change), tmp_path / "changed"))
