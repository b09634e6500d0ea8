"""The sentences hold for every outcome of a sweep."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_lora_boundary.report.data import (
    Answer,
    Clusters,
    Confirmation,
    Optimism,
    Row,
    TaskFound,
)
from lm_eval_lora_boundary.report.formatting import interval, number, percent, probability, signed
from lm_eval_lora_boundary.report.sentences import advice, caveats, finding

FULL = 3


def row(boundary: int, value: float | None, p: float | None = None, **more: Any) -> Row:
    delta = None if value is None else value - 0.5
    tested = {}
    if p is not None:
        tested = {"ci_low": -0.1, "ci_high": 0.2, "p_value": p, "p_simultaneous": p}
    return Row(boundary, value, **({"delta_full": delta} | tested | more))


BETTER = "better than the whole adapter"
ANSWERS = (
    Answer("adapter_helps", "Does it help?", "No, it does harm: 0.5 against 0.6.", False),
    Answer("better_cut", "Better?", "Yes: boundary 2 scores 0.6 against 0.5.", True),
    Answer("keeps_gain", "Keeps?", "Boundary 1 keeps at least 90 % of the gain.", True),
)


def task(*rows: Row, best: int, **more: Any) -> TaskFound:
    defaults: dict[str, Any] = {
        "name": "t",
        "metric": "f1,none",
        "higher_is_better": True,
        "split": "validation",
        "documents": 40,
        "smallest_noninferior": None,
        "collapse": None,
        "choice": best,
        "choice_basis": None if best == FULL else BETTER,
        "answers": ANSWERS,
        "same_documents": True,
        "optimism": None,
        "test": None,
        "trace": None,
    }
    return TaskFound(rows=rows, best=best, **(defaults | more))


def texts(found: TaskFound, full: int | None = FULL, race: Any = None) -> tuple[str, str]:
    text = f"{advice(found, full)}: {finding(found)}"
    return text.replace("\u00a0", " "), " ".join(caveats(found, full, race or {})).replace(
        "\u00a0", " "
    )


WHOLE = row(FULL, 0.5, 1.0)


@pytest.mark.parametrize(
    ("choice", "basis", "expected"),
    [
        (2, BETTER, "Keep layers 0–2 (boundary 2): boundary 2 scores 0.6 against 0.5."),
        (
            0,
            "keeps the gain",
            "Keep layer 0 (boundary 0): boundary 1 keeps at least 90 % of the gain.",
        ),
        (
            -1,
            "the adapter does harm",
            "Use the base model alone (boundary −1): the adapter does harm: ",
        ),
        ("0-1@0.5", BETTER, "Keep layers 0–1 at strength 0.5 (keep=0-1@0.5): boundary 2 "),
    ],
)
def test_the_advice_follows_from_the_answer_that_supports_it(
    choice: int | str, basis: str, expected: str
) -> None:
    found = task(row(2, 0.6, 0.01), WHOLE, best=2, choice=choice, choice_basis=basis)
    assert texts(found)[0].startswith(expected)


def test_without_evidence_the_whole_adapter_stays() -> None:
    found = task(row(2, 0.6, 0.2), WHOLE, best=2, choice=FULL, choice_basis=None)
    text, _ = texts(replace(found, choice_reason="no cut is shown to be better"))
    assert text == "Keep the whole adapter (boundary 3): no cut is shown to be better."


def test_a_sweep_of_another_version_has_no_answers() -> None:
    text, _ = texts(task(row(2, 0.6, 0.01), WHOLE, best=2, answers=(), choice_basis=None))
    assert text.startswith("Keep the whole adapter (boundary 3): another version wrote")


def test_a_choice_on_the_same_documents_is_inflated() -> None:
    _, notes = texts(task(row(2, 0.6, 0.11), WHOLE, best=2))
    assert "The score of boundary 2 is inflated" in notes
    assert "by how much is not known" in notes
    found = task(row(2, 0.6, 0.01), WHOLE, best=2, optimism=Optimism(0.03, 0.57, 0.2))
    assert "expect about 0.570 on other documents (0.030 is luck" in texts(found)[1]
    _, notes = texts(task(row(-1, 0.1, 0.01), row(2, 0.4, 0.01), WHOLE, best=FULL))
    assert "inflated" not in notes


def test_documents_that_were_not_used_to_choose_are_named() -> None:
    confirmation = Confirmation("test", 90, (row(2, 0.3, 0.01), WHOLE))
    _, notes = texts(task(row(2, 0.6, 0.01), WHOLE, best=2, test=confirmation))
    assert "Chosen on 40 validation documents, tested on 90 test documents," in notes
    _, notes = texts(task(row(2, 0.6, 0.01), WHOLE, best=2, same_documents=False))
    assert "inflated" not in notes


def test_the_stability_of_the_best_is_said_without_certainty() -> None:
    _, notes = texts(task(row(2, 0.6, 0.1, selection_share=0.103), WHOLE, best=2))
    assert (
        "When boundary 2 is best on a random half of the 40 validation documents, it is best on "
        "the other half too in 10 % of the cases (a tie counts in part)."
    ) in notes
    whole = replace(WHOLE, selection_share=0.9999)
    _, notes = texts(task(row(2, 0.4, 0.1), whole, best=FULL))
    assert "it is best on the other half too in > 99 % of the cases" in notes


def test_documents_that_belong_together_are_said() -> None:
    _, notes = texts(task(row(2, 0.6, 0.1), WHOLE, best=2, clusters=Clusters("docid", 12)))
    assert "Documents that belong together were drawn together: 12 values of docid." in notes


def test_nothing_significant_and_nothing_available_are_different_things() -> None:
    nothing = "No scored boundary differs significantly"
    missing = "not available here"
    _, notes = texts(task(row(1, 0.4, 0.4), row(2, 0.6, 0.3), WHOLE, best=2))
    assert nothing in notes
    assert missing not in notes
    _, notes = texts(task(row(1, 0.4), row(2, 0.6), row(FULL, 0.5), best=2))
    assert missing in notes
    assert nothing not in notes
    _, notes = texts(task(row(1, 0.4, 0.01), row(2, 0.6, 0.3), WHOLE, best=2))
    assert nothing not in notes
    assert missing not in notes


def test_boundaries_dropped_by_a_race_are_named() -> None:
    race = {"dropped": [{"boundary": -1}, {"boundary": 0}]}
    _, notes = texts(task(row(2, 0.6, 0.01), WHOLE, best=2), race=race)
    assert "dropped 2 of 4 boundaries" in notes
    assert "(−1, 0)" in notes


def test_a_single_boundary_that_is_worse_is_named() -> None:
    rows = (row(-1, 0.1, 0.001), row(0, 0.2, 0.01), row(1, 0.48, 0.4), row(2, 0.6, 0.2), WHOLE)
    _, notes = texts(task(*rows, best=2, collapse=0))
    assert "Boundary 0 is significantly worse than the whole adapter." in notes


def test_only_scored_boundaries_are_called_worse() -> None:
    low = [row(b, 0.1, 0.001) for b in (-1, 10, 11)]
    rows = (*low, row(20, 0.6, 0.3), row(29, 0.5, 1.0))
    _, notes = texts(task(*rows, best=20, collapse=11), full=29)
    assert "Every boundary from 10 to 11 is significantly worse" in notes
    rows = (*low, row(12, 0.1, 0.01), row(15, 0.1, 0.01), row(29, 0.5, 1.0))
    _, notes = texts(task(*rows, best=29, collapse=15), full=29)
    assert "Every scored boundary up to 15 (10 to 12, 15) is significantly worse" in notes
    assert " 0 " not in notes
    one = task(row(-1, 0.1, 0.001), row(10, 0.1, 0.01), row(29, 0.5, 1.0), best=29, collapse=10)
    assert "Boundary 10 is significantly worse" in texts(one, full=29)[1]


def test_optimism_is_reported_with_its_sign_and_only_if_there_is_any() -> None:
    found = task(row(2, 0.6, 0.2), WHOLE, best=2, optimism=Optimism(0.0, 0.6, 0.2))
    assert "inflated" not in texts(found)[1]
    equal = task(row(2, 0.5, 1.0), WHOLE, best=2)  # nothing to choose from
    assert "inflated" not in texts(equal)[1]
    lower = replace(found, higher_is_better=False, optimism=Optimism(0.03, 0.63, 0.2))
    assert "expect about 0.630 on other documents (0.030 is luck" in texts(lower)[1]


def test_missing_intervals_are_distinguished_from_missing_p_values() -> None:
    few = {"p_value": 0.2, "p_simultaneous": 0.2}
    _, notes = texts(task(row(2, 0.6, **few), row(FULL, 0.5, **few), best=2))
    assert "too few documents have different answers" in notes
    assert "whole adapter, at least two documents" not in notes


@given(st.floats(-1e6, 1e6))
def test_shown_numbers_are_close_to_the_values(value: float) -> None:
    for text in (number(value), signed(value)):
        shown = float(text.replace("−", "-"))
        assert math.isclose(shown, value, rel_tol=0.005, abs_tol=0.0005001)
    assert signed(value)[0] in "+−0"
    assert not signed(value).startswith(("+0.000", "−0.000")) or abs(value) >= 0.0005


def test_missing_values_are_never_shown_as_zero() -> None:
    assert {number(None), signed(None), probability(None), percent(None)} == {"–"}
    assert interval(None, 1.0) == ""
    assert percent(0.001).replace("\u00a0", " ") == "< 1 %"
    assert percent(0.999).replace("\u00a0", " ") == "> 99 %"
    assert percent(0.0).replace("\u00a0", " ") == "0 %"
    assert probability(0.00001).replace("\u00a0", " ") == "< 0.001"


def test_after_a_race_the_choice_is_still_on_the_same_documents() -> None:
    dropped = [{"boundary": boundary} for boundary in (0, 1)]
    race = {"dropped": [*dropped, {"boundary": FULL}]}
    found = task(row(2, 0.6, 0.11), WHOLE, best=2)
    _, notes = texts(found, race=race)
    assert "by how much is not known, since a race ended before all boundaries had" in notes
    # the whole adapter was dropped, but scored
    assert "A race dropped 2 of 4 boundaries before they had answered all documents (0, 1)" in notes
    _, notes = texts(task(row(2, 0.6), best=2), race=race)
    assert "is inflated, because it was chosen on these documents" in notes
