"""The sentences hold for every outcome of a sweep."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_lora_boundary.report.data import Confirmation, Optimism, Row, TaskFound
from lm_eval_lora_boundary.report.formatting import interval, number, percent, probability, signed
from lm_eval_lora_boundary.report.sentences import advice, caveats, finding

FULL = 3


def row(boundary: int, value: float | None, p: float | None = None, **more: Any) -> Row:
    delta = None if value is None else value - 0.5
    tested = {} if p is None else {"ci_low": -0.1, "ci_high": 0.2, "p_value": p, "p_holm": p}
    return Row(boundary, value, **({"delta_full": delta} | tested | more))


def task(*rows: Row, best: int, **more: Any) -> TaskFound:
    defaults: dict[str, Any] = {
        "name": "t",
        "metric": "f1,none",
        "higher_is_better": True,
        "split": "validation",
        "documents": 40,
        "smallest_equivalent": None,
        "collapse": None,
        "choice": best,
        "same_documents": True,
        "optimism": None,
        "test": None,
        "trace": None,
    }
    return TaskFound(rows=rows, best=best, **(defaults | more))


def texts(found: TaskFound, full: int | None = FULL, race: Any = None) -> tuple[str, str]:
    text = f"{advice(found, full)}: {finding(found, full)}"
    return text.replace("\u00a0", " "), " ".join(caveats(found, full, race or {})).replace(
        "\u00a0", " "
    )


WHOLE = row(FULL, 0.5, 1.0)


def test_a_difference_that_may_be_chance_is_called_not_significant() -> None:
    text, notes = texts(task(row(2, 0.6, 0.11), WHOLE, best=2))
    assert text == (
        "Keep layers 0 to 2 (boundary 2): f1 0.600 against 0.500 with the whole adapter on 40 "
        "validation documents, +0.100 [−0.100, +0.200], p = 0.11: not significantly different "
        "from the whole adapter."
    )
    assert "Chosen and scored on the same documents" in notes
    assert "by how much is not known" in notes


def test_a_gain_is_called_significant_only_after_correction_for_the_choice() -> None:
    found = task(row(2, 0.6, 0.01), WHOLE, best=2)
    assert texts(found)[0].endswith("significantly better than the whole adapter.")
    text, notes = texts(replace(found, optimism=Optimism(0.03, 0.57, 0.2)))
    assert text.endswith(
        "not significantly different from the whole adapter (p = 0.20 corrected for the choice)."
    )
    assert "by about 0.030: expect 0.570 on other documents" in notes


@pytest.mark.parametrize(
    ("boundary", "start"), [(-1, "Use the base model alone"), (0, "Keep layer 0 ")]
)
def test_the_advice_names_the_kept_layers(boundary: int, start: str) -> None:
    assert texts(task(row(boundary, 0.6, 0.01), WHOLE, best=boundary))[0].startswith(start)


def test_a_tie_is_a_reason_for_the_smaller_boundary() -> None:
    text, _ = texts(task(row(1, 0.5, 1.0), WHOLE, best=1))
    assert text.endswith(
        "0.000 [−0.100, +0.200], p = 1.00: the same score, with a smaller adapter."
    )


def test_the_whole_adapter_is_best() -> None:
    text, notes = texts(task(row(-1, 0.1, 0.01), row(2, 0.4, 0.01), WHOLE, best=FULL))
    assert text == (
        "Keep the whole adapter (boundary 3): f1 0.500 on 40 validation documents. None of the 2 "
        "other boundaries scored as well."
    )
    assert "look better" not in notes


def test_a_negative_difference_is_a_gain_if_lower_is_better() -> None:
    lower = {"best": 2, "higher_is_better": False}
    text, _ = texts(task(row(2, 0.4, 0.01), WHOLE, **lower))
    assert "(lower is better)" in text
    assert text.endswith("significantly better than the whole adapter.")


def test_a_best_boundary_that_fails_on_other_documents_is_not_recommended() -> None:
    rows = (row(2, 0.3, 0.01), WHOLE)
    confirmation = Confirmation("test", 90, rows)
    text, notes = texts(task(row(2, 0.6, 0.01), WHOLE, best=2, choice=FULL, test=confirmation))
    assert text.startswith(
        "Keep the whole adapter (boundary 3): boundary 2, the best on 40 validation"
    )
    assert "0.300 against 0.500 with the whole adapter on 90 test documents" in text
    assert text.endswith("significantly worse than the whole adapter.")
    assert "Chosen on 40 validation documents, scored here on 90 test documents" in notes
    good = Confirmation("test", 90, (row(2, 0.7, 0.01), WHOLE))
    text, notes = texts(task(row(2, 0.6, 0.01), WHOLE, best=2, test=good, same_documents=False))
    assert text.startswith("Keep layers 0 to 2 (boundary 2): f1 0.700 against 0.500")
    assert "look better" not in notes


def test_nothing_significant_and_nothing_available_are_different_things() -> None:
    nothing = "No scored boundary differs significantly"
    missing = "not available here"
    _, notes = texts(task(row(1, 0.4, 0.4), row(2, 0.6, 0.3), WHOLE, best=2))
    assert nothing in notes
    assert missing not in notes
    text, notes = texts(task(row(1, 0.4), row(2, 0.6), row(FULL, 0.5), best=2))
    assert "cannot be tested here" in text
    assert missing in notes
    assert nothing not in notes
    _, notes = texts(task(row(1, 0.4, 0.01), row(2, 0.6, 0.3), WHOLE, best=2))
    assert nothing not in notes
    assert missing not in notes


def test_without_the_whole_adapter_there_is_no_comparison() -> None:
    rows = [row(1, 0.4, delta_full=None), row(2, 0.6, delta_full=None)]
    text, _ = texts(task(*rows, best=2))
    assert text.endswith("There is no score of the whole adapter to compare it with.")
    assert "None" not in texts(task(*rows, best=2), None)[0]


def test_boundaries_dropped_by_a_race_are_named() -> None:
    race = {"dropped": [{"boundary": -1}, {"boundary": 0}]}
    _, notes = texts(task(row(2, 0.6, 0.01), WHOLE, best=2), race=race)
    assert "dropped 2 of 4 boundaries" in notes
    assert "(−1, 0)" in notes


def test_collapse_smallest_equivalent_and_base_are_reported() -> None:
    base = row(-1, 0.1, 0.001)
    whole = replace(WHOLE, delta_base=0.4, base_ci_low=0.2, base_ci_high=0.5, base_p_value=0.0001)
    rows = (base, row(0, 0.2, 0.01), row(1, 0.48, 0.4), row(2, 0.6, 0.2), whole)
    _, notes = texts(task(*rows, best=2, smallest_equivalent=1, collapse=0))
    assert "Boundary 0 is significantly worse than the whole adapter." in notes
    assert (
        "not significantly worse than the best is boundary 1, with 0.480 (−0.020 [−0.100, +0.200]"
        in notes
    )
    assert "0.100; the whole adapter changes that by +0.400 [+0.200, +0.500], p < 0.001." in notes


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
    assert "look better" not in texts(found)[1]
    equal = task(row(2, 0.5, 1.0), WHOLE, best=2)  # nothing to choose from
    assert "look better" not in texts(equal)[1]
    lower = replace(found, higher_is_better=False, optimism=Optimism(0.03, 0.63, 0.2))
    assert "by about 0.030: expect 0.630 on other documents" in texts(lower)[1]


def test_missing_intervals_are_distinguished_from_missing_p_values() -> None:
    few = {"p_value": 0.2, "p_holm": 0.2}
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
    assert "Chosen and scored on the same documents" in notes
