"""What a sweep decides from its answers, and records for ``boundary=auto``."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.stats.margin import Margin
from lm_eval_lora_boundary.sweeps.decision import decide, to_test
from lm_eval_lora_boundary.sweeps.metric import Metric
from lm_eval_lora_boundary.sweeps.save import save
from lm_eval_lora_boundary.sweeps.scores import Measured, TaskScores, task_scores
from lm_eval_lora_boundary.sweeps.settings import SweepSettings
from lm_eval_lora_boundary.sweeps.summary import confirmed, summarise

LAYERS = 4
FULL = LAYERS - 1
TENTH = Margin(0.1, is_share=True)


def scored(rates: dict[int, float], documents: int, higher_is_better: bool = True) -> TaskScores:
    """Return scores of boundaries; what is right at one rate is right at higher ones too."""
    metric = Metric("acc", "none", higher_is_better, mean=True)
    task: Any = SimpleNamespace(task_name="t", aggregation=lambda: {"acc": None})
    ability = np.random.default_rng(0).permutation((np.arange(documents) + 0.5) / documents)
    measured = []
    for boundary, rate in rates.items():
        right = ability < rate
        values = right.astype(float) if higher_is_better else 1 - right.astype(float)
        items = dict(enumerate(values.tolist()))
        metrics = {"acc,none": float(values.mean())}
        measured.append(
            Measured(
                Cut.up_to(boundary, LAYERS), float(values.mean()), 0.01, items, metrics, str(rate)
            )
        )
    return task_scores(task, metric, measured)


def summary(
    validation: dict[int, float],
    test: dict[int, float] | None = None,
    *,
    documents: int = 200,
    higher_is_better: bool = True,
    margin: Margin = TENTH,
) -> dict[str, Any]:
    """Return the content of a ``sweep.json``."""
    first = scored(validation, documents, higher_is_better)
    entry = summarise(first, (), FULL, "validation", margin)
    if test is not None:
        entry = confirmed(entry, scored(test, documents, higher_is_better), FULL)
    return {"signature": "s", "layers": LAYERS, "tasks": {"t": decide(entry, FULL)}}


def entry(found: dict[str, Any]) -> dict[str, Any]:
    (only,) = found["tasks"].values()
    return dict(only)


def model(folder: Path) -> Any:
    adapter = SimpleNamespace(path=folder, sha256="a", config_sha256="c")
    return SimpleNamespace(layers=LAYERS, adapter=adapter, base_sample="b")


def settings(folder: Path) -> SweepSettings:
    return SweepSettings(pretrained="base", peft=str(folder), tasks=("t",), save=True)


def recorded(folder: Path, found: dict[str, Any], **options: Any) -> dict[str, Any] | None:
    save(model(folder), found, settings(folder), **options)
    path = folder / "lora_boundary.json"
    return json.loads(path.read_text()) if path.exists() else None


FLAT = {-1: 0.2, 0: 0.3, 1: 0.8, 2: 0.8, 3: 0.8}
PEAK = {-1: 0.2, 0: 0.3, 1: 0.95, 2: 0.8, 3: 0.8}


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_cut_that_keeps_the_gain_on_both_splits_is_recorded(
    tmp_path: Path, higher_is_better: bool
) -> None:
    found = summary(FLAT, FLAT, higher_is_better=higher_is_better)
    answers = entry(found)["answers"]
    assert entry(found)["smallest_noninferior"] == 1
    assert [answer["shown"] for answer in answers.values()] == [True, False, True, True]
    assert answers["keeps_gain"]["cut"] == entry(found)["choice"] == 1
    assert answers["keeps_gain"]["value"] == pytest.approx(1)
    assert answers["keeps_gain"]["sentence"].startswith(
        "Boundary 1 keeps at least 90 % of the gain: 100 % of it ["
    )
    record = recorded(tmp_path, found)
    assert record is not None
    assert (record["boundary"], record["basis"]) == (1, "keeps the gain")
    assert (record["split"], record["selection"]) == ("test", "other documents")
    assert record["reason"] is None and record["margin"] == "10%"


def test_a_cut_that_is_better_on_both_splits_is_recorded_as_that(tmp_path: Path) -> None:
    found = summary(PEAK, PEAK)
    assert entry(found)["answers"]["better_cut"]["shown"]
    record = recorded(tmp_path, found)
    assert record is not None
    assert (record["boundary"], record["basis"]) == (1, "better than the whole adapter")


@pytest.mark.parametrize(
    "test",
    [
        {-1: 0.2, 1: 0.78, 2: 0.78, 3: 0.8},  # loses 3 % of the gain: 60 documents are too few
        {-1: 0.2, 1: 0.4, 2: 0.4, 3: 0.8},
    ],
)
def test_what_the_test_split_does_not_show_is_not_recorded(
    tmp_path: Path, test: dict[int, float]
) -> None:
    found = summary(PEAK, test, documents=60)
    assert entry(found)["best"] == 1
    answers = entry(found)["answers"]
    assert not answers["better_cut"]["shown"] and not answers["keeps_gain"]["shown"]
    assert answers["keeps_gain"]["sentence"].startswith("Not shown with 60")
    record = recorded(tmp_path, found)
    assert record is not None and record["boundary"] == FULL
    assert record["basis"] is None
    assert "no cut is shown to be better than the whole adapter" in record["reason"]


def test_the_smallest_of_those_that_hold_on_the_test_split_is_recorded(tmp_path: Path) -> None:
    """Boundaries 1 and 2 keep the gain on one split, and only 2 on the other."""
    found = summary(FLAT, {-1: 0.2, 1: 0.6, 2: 0.8, 3: 0.8})
    assert entry(found)["keeping"]["cuts"] == [1, 2]
    assert entry(found)["noninferior"] == [2]
    assert entry(found)["smallest_noninferior"] == entry(found)["choice"] == 2
    record = recorded(tmp_path, found)
    assert record is not None and record["boundary"] == 2


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 4, 9, 30])
def test_a_few_of_the_cuts_are_tested_again(kept: int) -> None:
    found = to_test(list(range(kept)))
    assert found == sorted(set(found), reverse=True)
    assert len(found) == min(kept, 4)
    if kept:
        assert (found[0], found[-1]) == (kept - 1, 0)


def test_an_adapter_that_does_harm_leaves_the_base_model(tmp_path: Path) -> None:
    harm = {-1: 0.6, 0: 0.5, 1: 0.3, 2: 0.3, 3: 0.3}
    found = summary(harm, harm)
    answers = entry(found)["answers"]
    assert answers["adapter_helps"]["worse"] and not answers["adapter_helps"]["shown"]
    assert answers["adapter_helps"]["sentence"].startswith("No, it does harm: acc 0.300 against")
    assert "a share of the gain means nothing" in answers["keeps_gain"]["sentence"]
    record = recorded(tmp_path, found)
    assert record is not None and (record["boundary"], record["cut"]) == (-1, "none")
    assert record["basis"] == "the adapter does harm"


def test_few_documents_show_nothing_and_say_how_many_would() -> None:
    found = entry(summary(FLAT, FLAT, documents=24))
    assert found["choice"] == FULL and found["choice_basis"] is None
    keeps, could = found["answers"]["keeps_gain"], found["answers"]["could_tell"]
    assert "Not shown with 24 validation documents" in keeps["sentence"]
    assert keeps["documents_needed"] == could["documents_needed"] > 24
    assert not could["shown"]
    assert f"about {could['documents_needed']} documents" in could["sentence"]
    # with as many as that, it is shown
    enough = entry(summary(FLAT, FLAT, documents=keeps["documents_needed"] + 20))
    assert enough["choice"] == 1 and enough["answers"]["could_tell"]["shown"]


def test_on_the_same_documents_the_choice_is_corrected_for() -> None:
    found = entry(summary(PEAK))
    better = found["answers"]["better_cut"]
    row = next(row for row in found["boundaries"] if row["boundary"] == 1)
    assert better["p_value"] == row["p_simultaneous"] <= 0.05
    assert (better["ci_low"], better["ci_high"]) == (
        row["simultaneous_low"],
        row["simultaneous_high"],
    )
    assert "corrected for the choice among 5 cuts" in better["sentence"]


def test_a_choice_that_could_have_been_tested_must_be(tmp_path: Path) -> None:
    (tmp_path / "lora_boundary.json").write_text("{}")
    assert recorded(tmp_path, summary(PEAK), has_test_split=True) == {}
    record = recorded(tmp_path, summary(PEAK))  # there are no other documents
    assert record is not None and record["boundary"] == 1


def test_a_margin_in_the_unit_of_the_metric_needs_no_gain() -> None:
    none = {-1: 0.8, 0: 0.8, 1: 0.8, 2: 0.8, 3: 0.81}
    found = entry(summary(none, none, margin=Margin(0.1, is_share=False)))
    assert found["smallest_noninferior"] == -1
    assert found["answers"]["keeps_gain"]["shown"] and found["choice"] == -1
    share = entry(summary(none, none))
    assert share["smallest_noninferior"] is None
    assert "means nothing as long as no gain is shown" in share["answers"]["keeps_gain"]["sentence"]


def test_an_adapter_that_answers_as_the_base_does_is_marked() -> None:
    """Measured answers are known by a hash, which is the rate here."""
    assert entry(summary({-1: 0.5, 0: 0.7, 1: 0.6, 3: 0.5}))["same_as_base"]
    assert not entry(summary(FLAT))["same_as_base"]
