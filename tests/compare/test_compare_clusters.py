"""Documents that belong together are drawn and swapped together.

Most tests repeat each answer on several documents of one text. Whole texts then vary exactly as
single documents would, so the numbers are those of one document of each text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare_helpers import answers, record, scores, sweep_folder, write

from lm_eval_lora_boundary.compare import Comparison, compare

TEXTS, SEGMENTS = 12, 5  # so few texts that all ways of swapping them are listed
DOCUMENTS = {i: {"id": i, "text": f"text {i // SEGMENTS}"} for i in range(TEXTS * SEGMENTS)}
NUMBERS = ("value", "low", "high", "interval", "difference", "difference_low", "difference_high")
NUMBERS += ("p_value", "p_holm", "test")


def repeated(items: list[float]) -> list[float]:
    return [item for item in items for _ in range(SEGMENTS)]


def run(folder: Path, name: str, items: list[float], **options: Any) -> Path:
    options = {"documents": DOCUMENTS, "cluster": "text"} | options
    write(folder / name, {"task": {"acc,none": items}}, args={"pretrained": name}, **options)
    return folder / name


def numbers(comparison: Comparison, label: str, task: str = "task") -> dict[str, Any]:
    return {name: record(comparison, label, task)[name] for name in NUMBERS}


def test_texts_count_as_one_document_each_would(tmp_path: Path) -> None:
    columns = {"a": scores(TEXTS, 1), "b": scores(TEXTS, 2, shift=0.03)}
    whole = [run(tmp_path / "whole", name, repeated(items)) for name, items in columns.items()]
    single = [
        run(tmp_path / "single", name, items, cluster=None) for name, items in columns.items()
    ]
    found, expected = compare(whole), compare(single)
    for label in columns:
        ours, theirs = numbers(found, label), numbers(expected, label)
        assert ours == {key: pytest.approx(value, abs=1e-9) for key, value in theirs.items()}
    assert 0.001 < numbers(found, "b")["p_value"] < 1
    assert record(found, "b")["common_documents"] == TEXTS * SEGMENTS
    legend = (
        "documents of task with the same text belong together, and are drawn and swapped together"
    )
    assert legend in found.legend and legend not in expected.legend
    # segments that count as unrelated claim more
    alone = [
        run(tmp_path / "alone", name, repeated(items), cluster=None)
        for name, items in columns.items()
    ]
    assert numbers(compare(alone), "b")["p_value"] < numbers(found, "b")["p_value"] / 2


def test_right_and_wrong_answers_are_drawn_by_text(tmp_path: Path) -> None:
    columns = {"a": answers(TEXTS, 1, 0.4), "b": answers(TEXTS, 2, 0.6)}
    found = compare([run(tmp_path, name, repeated(items)) for name, items in columns.items()])
    assert numbers(found, "b")["test"] == "randomisation"
    assert {numbers(found, label)["interval"] for label in columns} == {"bootstrap"}


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_texts_that_are_all_right_do_not_prove_that_all_are(tmp_path: Path, right: float) -> None:
    found = compare([run(tmp_path, "a", [right] * TEXTS * SEGMENTS)])
    ends = numbers(found, "a")["low"], numbers(found, "a")["high"]
    # Wilson's interval of 12 of 12 documents
    expected = {0.0: (0.0, 0.2425), 1.0: (0.7575, 1.0)}[right]
    assert ends == pytest.approx(expected, abs=1e-4)


def test_one_run_may_know_what_belongs_together(tmp_path: Path) -> None:
    columns = {"a": repeated(scores(TEXTS, 1)), "b": repeated(scores(TEXTS, 2, shift=0.03))}
    both = compare([run(tmp_path / "both", name, items) for name, items in columns.items()])
    for ignorant in columns:
        folder = tmp_path / f"not {ignorant}"
        one = compare(
            [
                run(folder, name, items, cluster=None if name == ignorant else "text")
                for name, items in columns.items()
            ]
        )
        assert numbers(one, "b")["p_value"] == numbers(both, "b")["p_value"]


def test_one_common_text_is_not_tested(tmp_path: Path) -> None:
    a = run(tmp_path, "a", scores(TEXTS * SEGMENTS, 1))
    b = run(tmp_path, "b", scores(SEGMENTS, 2))
    found = compare([a, b])
    assert numbers(found, "b")["p_value"] is None
    assert "task, acc,none: b was not tested: all 5 documents have the same text" in found.warnings
    assert any(
        line == "task: text is the same in all 5 documents of b, so they count as unrelated; if "
        "they do belong together, intervals are too narrow"
        for line in found.warnings
    )


def test_a_field_that_documents_lack_is_ignored(tmp_path: Path) -> None:
    documents = DOCUMENTS | {3: {"id": 3}}
    items = scores(TEXTS * SEGMENTS, 1)
    found = compare([run(tmp_path, "a", items, documents=documents)])
    assert (
        "task: documents of a lack text, which says what belongs together, so all count as "
        "unrelated"
    ) in found.warnings
    unrelated = compare([run(tmp_path / "x", "a", items, documents=documents, cluster=None)])
    assert numbers(found, "a") == numbers(unrelated, "a")
    assert not unrelated.warnings


@pytest.mark.parametrize("field", ["id", "text"])
def test_texts_of_one_segment_are_documents(tmp_path: Path, field: str) -> None:
    """Tests and intervals are then those for right and wrong answers, too."""
    columns = {"a": answers(TEXTS, 1, 0.4), "b": answers(TEXTS, 2, 0.6)}
    documents = {i: {"id": i, "text": [i]} for i in range(TEXTS)}
    found, expected = (
        compare(
            [
                run(tmp_path / str(cluster), name, items, documents=documents, cluster=cluster)
                for name, items in columns.items()
            ]
        )
        for cluster in (field, None)
    )
    assert numbers(found, "b") == numbers(expected, "b")
    assert numbers(found, "b")["test"] == "McNemar"
    assert found.legend == expected.legend
    assert found.warnings == expected.warnings


def test_texts_of_a_groups_tasks(tmp_path: Path) -> None:
    half = TEXTS // 2
    columns = {"a": scores(TEXTS, 1), "b": scores(TEXTS, 2, shift=0.03)}
    found = []
    for copies in (1, SEGMENTS):
        for name, items in columns.items():
            parts = {"one": items[:half], "two": items[half:]}
            tasks = {
                task: {"acc,none": [item for item in part for _ in range(copies)]}
                for task, part in parts.items()
            }
            write(
                tmp_path / str(copies),
                tasks,
                args={"pretrained": name},
                documents=DOCUMENTS,
                cluster="text" if copies > 1 else None,
                groups={"group": {"acc,none": float(np.mean(items))}},
            )
        comparison = compare([tmp_path / str(copies)], baseline=None)
        found.append(numbers(comparison, "b", "group"))
    assert found[1]["test"] == "stratified randomisation"
    for key in ("difference", "difference_low", "difference_high", "p_value"):
        assert found[1][key] == pytest.approx(found[0][key], abs=1e-9)


def over_seeds(folder: Path, cluster: str | None, copies: int) -> Comparison:
    sweeps = []
    for seed in (1, 2, 3, 4):
        name = folder / f"{copies} {cluster} {seed}"
        sweeps.append(
            sweep_folder(
                name, {"task": 3}, seed=seed, documents=40, adapter=f"org/{seed}", copies=copies
            )
        )
        content = json.loads((name / "sweep.json").read_text())
        content["settings"]["cluster"] = cluster
        (name / "sweep.json").write_text(json.dumps(content))
    return compare(sweeps)


def test_sweeps_over_training_seeds_draw_what_each_sweep_drew(tmp_path: Path) -> None:
    single, whole, alone = (
        over_seeds(tmp_path, *options) for options in ((None, 1), ("text", 5), ("none", 5))
    )
    for one, text, segment in zip(
        single.over_seeds, whole.over_seeds, alone.over_seeds, strict=True
    ):
        widths = [row["high"] - row["low"] for row in (one, text, segment)]
        # documents come in another order, so 2,000 other draws decide
        assert widths[1] == pytest.approx(widths[0], rel=0.1)
        assert widths[2] < 0.95 * widths[0]
        assert text["difference"] == pytest.approx(one["difference"])


def test_a_sweep_among_models_draws_what_it_drew(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "sweep", {"task": 3}, documents=8, copies=5)
    plain = compare([folder], baseline=None)
    content = json.loads((folder / "sweep.json").read_text())
    content["settings"]["cluster"] = "text"
    (folder / "sweep.json").write_text(json.dumps(content))
    found = compare([folder], baseline=None)
    assert {row["interval"] for row in plain.records} == {"Wilson"}
    assert {row["interval"] for row in found.records} == {"bootstrap"}
