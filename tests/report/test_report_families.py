"""Sweeps of several families of cuts: reading, sentences, tables and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_families import add_families, make_best
from made_sweeps import made_task, rewrite, write_sweep

from lm_eval_lora_boundary.errors import OutputError
from lm_eval_lora_boundary.report.data import TaskFound
from lm_eval_lora_boundary.report.formatting import what_is_kept
from lm_eval_lora_boundary.report.read import read_sweep
from lm_eval_lora_boundary.report.sentences import advice, caveats, finding
from lm_eval_lora_boundary.report.write import write_report

LAYERS = 6
FULL = LAYERS - 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_sweep(
        tmp_path,
        {"summaries": add_families(made_task(tmp_path, documents=6, layers=LAYERS), LAYERS)},
    )


def change(folder: Path, **entries: Any) -> None:
    rewrite(folder / "sweep.json", lambda c: c["tasks"]["summaries"].update(entries))


def let_win(folder: Path, family: str) -> TaskFound:
    """Make the best cut of a family the best of the sweep."""
    rewrite(folder / "sweep.json", lambda c: make_best(c["tasks"]["summaries"], family))
    return read_sweep(folder).tasks[0]


def words(found: TaskFound) -> tuple[str, str]:
    text = f"{advice(found, FULL)}: {finding(found)}"
    return text.replace("\u00a0", " "), " ".join(caveats(found, FULL, {})).replace("\u00a0", " ")


def test_families_are_read_with_their_cuts_in_order(folder: Path) -> None:
    (task,) = read_sweep(folder).tasks
    kinds = {family.name: family.kind for family in task.families}
    assert kinds["lower"] == "order" and kinds["file:cuts.txt"] == "list"
    lower = task.families[0]
    assert [row.kept_layers for row in lower.cuts] == [*range(LAYERS, -1, -1)]
    assert [row.name for row in lower.cuts] == [FULL, "1-5", "2-5", "3-5", "4-5", "5", -1]
    assert [row.kept_layers for row in task.rows] == [*range(LAYERS + 1)]
    assert list(task.layer_maps) == ["each", "only"]
    assert [each.layer for each in task.layer_maps["only"]] == list(range(LAYERS))
    assert task.row("1-5") == lower.cuts[1]
    assert task.row(FULL) == task.rows[-1]


@pytest.mark.parametrize(
    ("family", "start"),
    [
        ("scale", "Keep the whole adapter at strength "),
        ("each", "Keep layers "),
        ("only", "Keep layer "),
    ],
)
def test_the_best_cut_need_not_be_a_boundary(folder: Path, family: str, start: str) -> None:
    task = let_win(folder, family)
    text, notes = words(task)
    assert text.startswith(start)
    assert "None" not in text + notes
    if isinstance(task.best, str):
        assert f"(keep={task.best})" in text
    assert write_report(folder).is_file()


def test_the_answer_that_supports_a_cut_follows_the_advice(folder: Path) -> None:
    better = "better than the whole adapter"
    sentence = "Yes: keep=1-5 scores 0.7 against 0.6."
    answer = {"question": "Better?", "sentence": sentence, "shown": True}
    changed = {"best": "1-5", "choice": "1-5", "choice_basis": better}
    change(folder, **changed, answers={"better_cut": answer})
    text, _ = words(read_sweep(folder).tasks[0])
    assert text == "Keep layers 1–5 (keep=1-5): keep=1-5 scores 0.7 against 0.6."


def test_a_cut_may_be_confirmed_on_the_test_split(folder: Path) -> None:
    (task,) = read_sweep(folder).tasks

    def confirm(content: dict[str, Any]) -> None:
        found = content["tasks"]["summaries"]
        rows = [
            found["boundaries"][0],
            found["boundaries"][-1],
            found["families"]["lower"]["cuts"][1],
        ]
        found |= {"best": "1-5", "choice": FULL, "selection": "other documents"}
        found["test"] = {"split": "test", "documents": 9, "boundaries": rows}

    rewrite(folder / "sweep.json", confirm)
    (task,) = read_sweep(folder).tasks
    assert task.test is not None
    assert [row.name for row in task.test.rows] == [-1, FULL, "1-5"]
    _, notes = words(task)
    assert "tested on 9 test documents, which had no part in the choice" in notes


@pytest.mark.parametrize(
    ("change_entry", "expected"),
    [
        ({"best": "0+9"}, "keep=0+9 is the best of summaries but has no row"),
        ({"best": ""}, "'best'"),
        ({"choice": None}, "'choice'"),
        ({"families": []}, "'families' to be of type dict"),
        ({"families": {"lower": {"kind": "order"}}}, "'cuts' to be of type list"),
        ({"families": {"lower": {"cuts": []}}}, "'kind' to be of type str"),
        ({"families": {"lower": {"kind": "order", "cuts": [{"metrics": {}}]}}}, "'boundary'"),
        ({"layer_map": {"each": {}}}, "'layers' to be of type list"),
        ({"layer_map": {"each": {"layers": [{"effect": 1}]}}}, "'layer' to be of type int"),
        ({"controls": [{"family": "lower"}]}, "'sentence' to be of type str"),
    ],
)
def test_damaged_families_are_refused(
    folder: Path, change_entry: dict[str, Any], expected: str
) -> None:
    change(folder, **change_entry)
    with pytest.raises(OutputError) as caught:
        write_report(folder)
    assert expected in str(caught.value)


def test_numbers_of_families_may_be_missing(folder: Path) -> None:
    nothing = [{"layer": 2, "effect": None}, {"layer": 0, "effect": float("nan"), "ci_low": "x"}]

    def change(content: dict[str, Any]) -> None:
        found = content["tasks"]["summaries"]
        found["layer_map"] = {"only": {"layers": nothing}, "each": {"layers": []}}
        for family in found["families"].values():
            for row in family["cuts"]:
                row |= dict.fromkeys(("value", "delta_full", "p_value", "kept", "strength"))
        found["families"]["empty"] = {"kind": "order", "cuts": []}
        del found["controls"]

    rewrite(folder / "sweep.json", change)
    (task,) = read_sweep(folder).tasks
    assert [each.layer for each in task.layer_maps["only"]] == [0, 2]
    assert all(each.effect is None and not each.significant for each in task.layer_maps["only"])
    assert "each" not in task.layer_maps and task.controls == ()
    assert "empty" not in [family.name for family in task.families]
    assert write_report(folder).is_file()


def test_the_race_may_drop_cuts_that_are_no_boundaries(folder: Path) -> None:
    dropped = [{"boundary": None, "cut": "0+3"}, {"boundary": -1, "cut": "none"}]
    rewrite(folder / "sweep.json", lambda c: c.update(race={"dropped": dropped}))
    found = read_sweep(folder)
    notes = " ".join(caveats(found.tasks[0], FULL, found.race))
    assert "A race dropped 1 of " in notes and "cuts before" in notes and "(0+3)" in notes


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ("none", "no layer"),
        ("all", "the whole adapter"),
        ("all@0.7", "the whole adapter at strength 0.7"),
        ("7", "layer 7"),
        ("0-9", "layers 0–9"),
        ("0-9+20-29", "layers 0–9 and 20–29"),
        ("0+3+5-6", "layers 0, 3 and 5–6"),
        ("0-9+10-19@0.5", "layers 0–9 and 10–19 at strength 0.5"),
        ("0+2+4+6-9", "7 layers"),
    ],
)
def test_cuts_are_described_in_words(cut: str, expected: str) -> None:
    assert what_is_kept(cut) == expected
