"""What a comparison says in words: sentences and legend."""

from __future__ import annotations

from pathlib import Path

from compare_helpers import answers, record, scores, write

from lm_eval_lora_boundary.compare import compare


def test_the_first_of_two_models_is_the_baseline(tmp_path: Path) -> None:
    for name, rate in (("first", 0.4), ("second", 0.7)):
        items = {"task": {"acc,none": answers(200, 1, rate)}}
        write(tmp_path / name, items, args={"pretrained": name})
    comparison = compare([tmp_path / "first", tmp_path / "second"])
    given = compare([tmp_path / "second"], baseline=tmp_path / "first")
    assert comparison.records == given.records
    row = record(comparison, "second")
    assert row["p_value"] < 0.01
    (sentence,) = comparison.sentences
    assert sentence == (
        f"task, acc: second scores {row['difference']:+.3f} [{row['difference_low']:+.3f}, "
        f"{row['difference_high']:+.3f}] against first on 200 common documents "
        f"(p = {row['p_value']:.2g}, McNemar)."
    )
    assert any("it comes first; use --baseline for another" in line for line in comparison.legend)
    assert not any("comes first" in line for line in given.legend)
    for text in (comparison.to_html(), comparison.to_markdown()):
        assert "against first on 200 common documents" in text
    # of three, none is chosen
    write(tmp_path / "third", {"task": {"acc,none": answers(200, 1, 0.5)}}, args={"model": "third"})
    three = compare([tmp_path])
    assert [r["p_value"] for r in three.records] == [None] * 3 and not three.sentences
    assert "use --baseline for paired differences and tests" in three.legend


def test_of_many_tasks_only_the_outcome_is_said(tmp_path: Path) -> None:
    for name, rate in (("a", 0.3), ("b", 0.8)):
        tasks = {f"task{i:02}": {"acc,none": answers(60, i, rate)} for i in range(20)}
        write(tmp_path, tasks, args={"pretrained": name})
    (sentence,) = compare([tmp_path], baseline=tmp_path / "a").sentences
    assert sentence.startswith("Of 20 tasks and metrics, each tested alone, b scores higher on 20")
    assert "about 1 such" in sentence


def test_the_legend_says_what_is_corrected(tmp_path: Path) -> None:
    items = {"acc,none": answers(40, 1, 0.5), "score,none": scores(40, 1)}
    for name in ("a", "b", "c"):
        write(tmp_path, {"task": items}, args={"pretrained": name})
    two = compare([tmp_path / "a", tmp_path / "b"]).legend
    three = compare([tmp_path], baseline=tmp_path / "a", metrics=["acc", "score"]).legend
    corrected = "after Holm's correction for the number of models in the column"
    assert not any(corrected in line or "tasks and metrics" in line for line in two)
    assert any(corrected in line for line in three)
    (line,) = [line for line in three if "for one comparison at a time, not corrected" in line]
    assert "may leave out 0 without a †" in line
    assert "nothing is corrected for the number of tasks and metrics" in three
