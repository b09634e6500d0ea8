"""`speed.json`: how long a token takes, and when nothing is said about it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_helpers import make
from scipy.stats import binom
from tiny_models import LAYERS

from lm_eval_lora_boundary.files import SPEED, SWEEP
from lm_eval_lora_boundary.harness.sweep_lm import SweepLM
from lm_eval_lora_boundary.sweeps import speed
from lm_eval_lora_boundary.sweeps.speed import measure_speed

pytestmark = pytest.mark.usefixtures("fast_tasks")
FULL = LAYERS - 1
Tiny = Callable[..., tuple[Path, Path]]


@pytest.fixture
def lm(tiny: Tiny) -> SweepLM:
    model: SweepLM = make(*tiny(), cls=SweepLM)
    return model


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets what a pass takes by the number of layers with LoRA."""

    def clock(seconds: Callable[[int], float]) -> None:
        def passed(lm: SweepLM, ids: Any, repeats: int) -> float:
            kept = sum(strength != 0 for strength in lm.cut.current.strengths)
            return float(seconds(kept))

        monkeypatch.setattr(speed, "_time", passed)

    return clock


def summary(*choices: int | str, adapter: str = "a") -> dict[str, Any]:
    tasks = {f"task{i}": {"choice": choice} for i, choice in enumerate(choices)}
    return {"base_sha256": "b", "adapter_sha256": adapter, "tasks": tasks}


def noisy(seconds: Callable[[int], float], share: float) -> Callable[[int], float]:
    draw = np.random.default_rng(0)
    return lambda kept: seconds(kept) * (1 + share * draw.standard_normal())


def test_the_sweep_is_the_same_and_the_trial_has_a_file_of_its_own(
    run: Any, tmp_path: Path
) -> None:
    run(boundaries="1", confirm=False, limit=2)
    without = (tmp_path / "out" / SWEEP).read_bytes()
    assert not (tmp_path / "out" / SPEED).exists()
    run(boundaries="1", confirm=False, limit=2, speed=True)
    assert (tmp_path / "out" / SWEEP).read_bytes() == without
    measured = (tmp_path / "out" / SPEED).read_bytes()
    found = json.loads(measured)
    assert found["conditions"]["device"] == "cpu" and found["conditions"]["batch"] == 1
    assert found["adapter_sha256"] == json.loads(without)["adapter_sha256"]
    for passes in found["passes"].values():
        assert [row["cut"] for row in passes["seconds_per_token"]] == found["cuts"]
        for row in (*passes["ratios"], passes["noise"]):
            assert 0 < row["low"] <= row["ratio"] <= row["high"]
    # the same sweep again measures nothing
    run(boundaries="1", confirm=False, limit=2, speed=True)
    assert (tmp_path / "out" / SPEED).read_bytes() == measured


def test_what_is_clear_is_said_with_ratio_and_spread(
    lm: SweepLM, clock: Any, tmp_path: Path
) -> None:
    clock(noisy(lambda kept: 0.010 + 0.002 * kept, 0.01))
    found = measure_speed(lm, summary(1, FULL), tmp_path, wanted=True)
    assert found is not None and found["cuts"] == [-1, FULL, 1]
    said = {(each["cut"], each["kind"]): each["text"] for each in found["sentences"]}
    assert said.keys() == {(cut, kind) for cut in (1, FULL) for kind in ("writing", "reading")}
    text = said[1, "writing"]
    ratio = (0.010 + 0.002 * 2) / (0.010 + 0.002 * LAYERS)
    assert f"takes {ratio:.2f} times as long with layers 0-1 as with the whole adapter" in text
    assert re.search(r"; 1[34][.\d]* and 1[78][.\d]* ms; cpu, float32, batch 1, ", text)
    assert "as with no adapter" in said[FULL, "writing"]
    assert lm.cut.current.keeps_all


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_nothing_is_said_where_cuts_cannot_be_told_apart(
    share: float, lm: SweepLM, clock: Any, tmp_path: Path
) -> None:
    clock(noisy(lambda kept: 0.010 + share * 1e-4 * kept, share))
    found = measure_speed(lm, summary(1), tmp_path, wanted=True)
    assert found is not None and found["sentences"] == []
    assert not any(row["shown"] for passes in found["passes"].values() for row in passes["ratios"])


def test_a_machine_on_which_the_order_matters_says_nothing(
    lm: SweepLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole adapter, measured twice in a round, then differs from itself."""
    turns: Iterator[float] = iter(np.linspace(1.0, 9.0, 1000))
    monkeypatch.setattr(speed, "_time", lambda *_: 0.001 * float(next(turns)))
    found = measure_speed(lm, summary(1), tmp_path, wanted=True)
    assert found is not None and found["sentences"] == []


def test_a_trial_that_takes_long_is_left_out(
    lm: SweepLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {1: 0.02, 32: 0.6}
    monkeypatch.setattr(speed, "_time", lambda _, ids, repeats: times[ids.shape[1]])
    found = measure_speed(lm, summary(1), tmp_path, wanted=True)
    assert found is not None
    assert found["passes"]["writing"] is not None and found["passes"]["reading"] is None


def test_a_trial_of_other_weights_is_removed(lm: SweepLM, clock: Any, tmp_path: Path) -> None:
    clock(noisy(lambda kept: 0.001, 0.1))
    measure_speed(lm, summary(1), tmp_path, wanted=True)
    assert measure_speed(lm, summary(1), tmp_path, wanted=False) is not None
    assert measure_speed(lm, summary(1, adapter="other"), tmp_path, wanted=False) is None
    assert not (tmp_path / SPEED).exists()
    (tmp_path / SPEED).write_text("damaged")
    assert measure_speed(lm, summary(2), tmp_path, wanted=True) is not None


def test_the_interval_holds_the_median_in_96_of_100_cases() -> None:
    """As many of the values are below the median as heads in so many throws of a coin."""
    low, high = speed._RANKS
    inside = binom.cdf(high, speed.ROUNDS, 0.5) - binom.cdf(low, speed.ROUNDS, 0.5)
    assert inside == pytest.approx(0.961, abs=0.001)
