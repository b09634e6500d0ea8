"""The choice of attention kernels, and that it ends with the block."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from torch.backends.cuda import cudnn_sdp_enabled, enable_cudnn_sdp

from lm_eval_lora_boundary.forward.attention import attention_kernels

SWITCH = "TRANSFORMERS_SDPA_FORCE_GQA"


class StopHere(Exception):
    pass


@pytest.fixture(params=[True, False], ids=["cudnn", "no-cudnn"])
def chosen(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the user has cuDNN's attention on."""
    before = cudnn_sdp_enabled()
    enable_cudnn_sdp(request.param)
    yield request.param
    enable_cudnn_sdp(before)


def test_a_gpu_does_without_cudnn(chosen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    with attention_kernels(torch.device("cuda:0")):
        assert not cudnn_sdp_enabled()
        assert SWITCH not in os.environ
    assert cudnn_sdp_enabled() == chosen
    with pytest.raises(StopHere), attention_kernels(torch.device("cuda:0")):
        raise StopHere
    assert cudnn_sdp_enabled() == chosen


@pytest.mark.parametrize("before", [None, "0"])
def test_a_cpu_does_not_copy_keys(
    chosen: bool, before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    if before is not None:
        monkeypatch.setenv(SWITCH, before)
    with attention_kernels(torch.device("cpu")):
        assert os.environ[SWITCH] == (before or "1")
        assert cudnn_sdp_enabled() == chosen
    assert os.environ.get(SWITCH) == before
    with pytest.raises(StopHere), attention_kernels(torch.device("cpu")):
        raise StopHere
    assert os.environ.get(SWITCH) == before
