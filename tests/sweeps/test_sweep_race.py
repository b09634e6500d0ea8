"""Races in sweeps."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_models import LAYERS

from lm_eval_lora_boundary.stats import race as race_rules
from lm_eval_lora_boundary.sweeps.store import AnswerStore

# nine documents are too few for much evidence
CREDULOUS = {"race": True, "error_rate": 0.999, "split": "test"}


@pytest.fixture(autouse=True)
def early_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race_rules, "FIRST_ROUND", 3)


@pytest.mark.usefixtures("fast_tasks")
def test_a_race_drops_losers_and_reports_them(run: Any) -> None:
    found = run("tiny_choices", **CREDULOUS)
    race = found["race"]
    entry = found["tasks"]["tiny_choices"]
    scored = [row["boundary"] for row in entry["boundaries"]]
    dropped = {out["boundary"]: out["documents"] for out in race["dropped"]}
    assert {-1, LAYERS - 1} & {*dropped}
    assert {*scored, *dropped} == set(range(-1, LAYERS))
    assert {*scored} & {*dropped} <= {-1, LAYERS - 1} <= {*scored}
    assert race["documents"] == 9
    seen = sum(documents for boundary, documents in dropped.items() if boundary not in scored)
    assert race["evaluations"] == 9 * len(scored) + seen <= race["exhaustive"] == 9 * (LAYERS + 1)
    assert entry["optimism"] is None and "optimism is null" in race["note"]
    whole = run("tiny_choices", output="whole", split="test")
    values = {row["boundary"]: row for row in whole["tasks"]["tiny_choices"]["boundaries"]}
    for row in entry["boundaries"]:
        same = {"value", "stderr", "delta_full", "ci_low", "p_value", "delta_base", "metrics"}
        other = values[row["boundary"]]
        assert {k: row[k] for k in same} == {k: other[k] for k in same}
        assert None not in (row["delta_full"], row["delta_base"])


@pytest.mark.usefixtures("fast_tasks")
@pytest.mark.parametrize("engine", ["fork", "toggle"])
def test_the_engine_answers_what_the_race_counts(
    run: Any, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later rounds answer no earlier document again, nor does the final evaluation."""
    answered = []
    put = AnswerStore.put

    def counting(store: AnswerStore, cuts: Any, answers: Any) -> None:
        answers = list(answers)
        answered.append(len(cuts) * len(answers))
        put(store, cuts, answers)

    monkeypatch.setattr(AnswerStore, "put", counting)
    found = run("tiny_choices", engine=engine, **CREDULOUS)
    assert found["race"]["evaluations"] < found["race"]["exhaustive"]
    choices = 3
    # one more tells the metric
    assert sum(answered) == choices * (found["race"]["evaluations"] + 1)


def test_corpus_metrics_cannot_race(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    found = run(race=True, metric="bleu")
    assert "race" not in found
    assert "bleu,none is not a mean over documents" in caplog.text
    assert len(found["tasks"]["tiny_words"]["boundaries"]) == LAYERS + 1
