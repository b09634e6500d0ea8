"""What a sweep says about families: controls in words, and layer maps."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lm_eval_lora_boundary.cuts.families import Adapted, Family, make_family
from lm_eval_lora_boundary.cuts.keep import Cut
from lm_eval_lora_boundary.stats.margin import Margin
from lm_eval_lora_boundary.stats.scores import Scores
from lm_eval_lora_boundary.stats.statistic import Means
from lm_eval_lora_boundary.sweeps.family_summary import controls, described, layer_maps
from lm_eval_lora_boundary.sweeps.metric import Metric
from lm_eval_lora_boundary.sweeps.scores import Measured, task_scores
from lm_eval_lora_boundary.sweeps.summary import summarise


def scores(columns: dict[int | str, list[float]]) -> Scores:
    values = np.array(list(columns.values()), dtype=float).T
    return Scores(list(columns), values.mean(axis=0).tolist(), Means(values), True)


MODEL = Adapted(3, range(3), {})
ACC = Metric("acc", "none", higher_is_better=True, mean=True)
TASK: Any = SimpleNamespace(task_name="t", aggregation=lambda: {"acc": None})
TENTH = Margin(0.1, is_share=True)
RIGHT = [1.0] * 30 + [0.0] * 10


def shifted(by: int) -> list[float]:
    return [1.0] * (30 + by) + [0.0] * (10 - by)


@pytest.mark.parametrize(
    ("control", "as_good", "sentence"),
    [
        (
            shifted(1),
            True,
            r"The whole adapter at 0.5 scores as well as the best boundary \(0.775; ",
        ),
        (RIGHT, True, "The whole adapter at 0.5 scores as well as the best boundary"),
        (shifted(9), True, "scores better than the best boundary"),
        (shifted(-2), True, "is not shown to score worse than the best boundary"),
        (shifted(-20), False, "scores worse than the best boundary"),
    ],
    ids=["above", "equal", "better", "below", "worse"],
)
def test_what_is_said_about_a_control(control: list[float], as_good: bool, sentence: str) -> None:
    half = Family("scale:0.5", "scale", [Cut((0.5,) * 3)])
    found = scores({-1: [0.0] * 40, 0: shifted(-5), "all@0.5": control, 1: RIGHT, 2: shifted(-6)})
    (said,) = controls([half], found, full=2)
    assert said["as_good"] is as_good
    assert np.mean(control) - 0.75 == pytest.approx(said["difference"])
    assert re.search(sentence, said["sentence"]), said["sentence"]


def test_a_control_is_found_in_a_tie_with_the_whole_adapter() -> None:
    """As in the demo: boundary 1 is the best, and the whole adapter is as good as a control."""
    lower = make_family("lower", MODEL)
    columns = {-1: [0.0] * 40, "2": shifted(-9), 0: shifted(-5), "1-2": RIGHT, 1: RIGHT, 2: RIGHT}
    (said,) = controls([lower], scores(columns), full=2)
    assert (said["cut"], said["as_good"]) == ("1-2", True)
    assert said["sentence"].startswith("Dropping the lowest layer (keep=1-2) scores as well as")


def test_p_values_of_controls_are_corrected_for_their_number() -> None:
    halves = [Family(f"scale:{s}", "scale", [Cut((s,) * 3)]) for s in (0.5, 0.6, 0.7)]
    columns = {-1: [0.0] * 40, "all@0.5": shifted(-7), "all@0.6": shifted(-7)}
    columns |= {"all@0.7": shifted(-7), 1: RIGHT, 2: shifted(-9)}
    alone = controls(halves[:1], scores(columns), full=2)
    together = controls(halves, scores(columns), full=2)
    assert [said["p_value"] for said in together] == [alone[0]["p_value"]] * 3
    assert [said["p_holm"] for said in together] == pytest.approx([3 * alone[0]["p_value"]] * 3)
    assert not alone[0]["as_good"]


def test_every_family_has_words_for_its_cuts() -> None:
    listed = Family("file:x", "list", [Cut((0.5, 1.0, 0.0))])
    model = Adapted(3, range(3), {"map": lambda: {0: 3.0, 1: 1.0, 2: 2.0}})
    lower, by_map, each, only, random = (
        make_family(name, model) for name in ("lower", "map", "each", "only", "random:5")
    )
    assert described(lower, lower.cuts[2]) == "Dropping the lowest 2 layers (keep=2)"
    assert described(by_map, by_map.cuts[1]) == "Dropping one layer in the order map (keep=0+2)"
    assert described(random, random.cuts[2]).startswith("Dropping 2 layers in the order random:5")
    assert described(each, each.cuts[1]) == "The adapter without layer 1 (keep=0+2)"
    assert described(only, only.cuts[2]) == "The LoRA of layer 2 alone (keep=2)"
    assert described(listed, listed.cuts[0]) == "The cut keep=0@0.5+1"


def test_nothing_is_compared_with_a_boundary_that_wins_nothing() -> None:
    half = Family("scale:0.5", "scale", [Cut((0.5,) * 3)])
    best_is_whole = scores({-1: [0.0] * 40, "all@0.5": RIGHT, 1: shifted(-9), 2: shifted(1)})
    assert controls([half], best_is_whole, full=2) == []
    upper = make_family("upper", MODEL)
    assert controls([upper], scores({-1: [0.0] * 40, 1: RIGHT, 2: shifted(-3)}), full=2) == []


def test_a_map_without_all_of_its_cuts_is_left_out() -> None:
    family = make_family("only", MODEL)
    columns: dict[int | str, list[float]] = {-1: shifted(-9), 0: RIGHT, "1": RIGHT, 2: RIGHT}
    assert layer_maps([family], scores(columns), full=2) == {}
    found = layer_maps([family], scores(columns | {"2": shifted(-2)}), full=2)
    effects = [row["effect"] for row in found["only"]["layers"]]
    assert effects == pytest.approx([9 / 40, 9 / 40, 7 / 40])


def test_cuts_scored_on_different_documents_have_no_map_and_no_controls() -> None:
    family = make_family("only", MODEL)

    def measured(cut: Cut, documents: int) -> Measured:
        items = {number: float(number % 2) for number in range(documents)}
        return Measured(cut, sum(items.values()) / documents, None, items, {}, str(cut))

    ends = [Cut((0.0,) * 3), Cut((1.0,) * 3)]
    for documents, found in ((8, {"only"}), (7, set())):
        columns = [measured(cut, 8) for cut in (ends[0], *family.cuts[:2])]
        columns += [measured(family.cuts[2], documents), measured(ends[1], 8)]
        entry = summarise(task_scores(TASK, ACC, columns), [family], 2, "validation", TENTH)
        assert set(entry["layer_map"]) == found
        assert len(entry["families"]["only"]["cuts"]) == 3
        assert entry["controls"] == []
