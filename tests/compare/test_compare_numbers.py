"""Values, intervals, differences and p-values against a second implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from compare_helpers import answers, scores, write

from lm_eval_lora_boundary.compare import Comparison, compare

DOCUMENTS = 60


def record(comparison: Comparison, label: str, metric: str) -> dict[str, Any]:
    (only,) = (r for r in comparison.records if r["label"] == label and r["metric"] == metric)
    return only


@pytest.fixture
def columns() -> dict[str, dict[str, list[float]]]:
    return {
        name: {
            "acc,none": answers(DOCUMENTS, seed, rate),
            "score,none": scores(DOCUMENTS, seed, shift),
        }
        for seed, (name, rate, shift) in enumerate(
            [("a", 0.5, 0.0), ("b", 0.7, 0.02), ("c", 0.52, 0.0), ("d", 0.8, -0.05)]
        )
    }


@pytest.fixture
def comparison(columns: Any, tmp_path: Path) -> Comparison:
    for name, items in columns.items():
        write(tmp_path / "out", {"task": items}, args={"pretrained": f"org/{name}"})
    return compare([tmp_path / "out"], baseline=tmp_path / "out/org__a", metrics=["acc", "score"])


def test_values_are_lm_evals_own(comparison: Comparison, columns: Any) -> None:
    assert len(comparison.records) == 8
    for name, items in columns.items():
        for key, values in items.items():
            row = record(comparison, name, key.partition(",")[0])
            assert row["value"] == pytest.approx(np.mean(values), abs=1e-12)
            assert row["stderr"] == pytest.approx(scipy.stats.sem(values), abs=1e-12)
            assert row["documents"] == DOCUMENTS


def test_differences_agree_with_scipy(comparison: Comparison, columns: Any) -> None:
    for name in ("b", "c", "d"):
        for key in ("acc,none", "score,none"):
            difference = np.array(columns[name][key]) - np.array(columns["a"][key])
            row = record(comparison, name, key.partition(",")[0])
            assert row["difference"] == pytest.approx(difference.mean(), abs=1e-12)
            # for means of 60 documents, the expanded percentiles are close to Student's interval
            half = scipy.stats.t.ppf(0.975, DOCUMENTS - 1) * scipy.stats.sem(difference)
            allowed = 0.12 * half + (1 / DOCUMENTS if key == "acc,none" else 0)
            assert row["difference_low"] == pytest.approx(difference.mean() - half, abs=allowed)
            assert row["difference_high"] == pytest.approx(difference.mean() + half, abs=allowed)


def test_binary_metrics_are_tested_with_mcnemar(comparison: Comparison, columns: Any) -> None:
    for name in ("b", "c", "d"):
        ours, theirs = (np.array(columns[key]["acc,none"], dtype=bool) for key in (name, "a"))
        gained, lost = (ours & ~theirs).sum(), (theirs & ~ours).sum()
        exact = min(1.0, 2 * scipy.stats.binom.cdf(min(gained, lost), gained + lost, 0.5))
        mid = exact - scipy.stats.binom.pmf(min(gained, lost), gained + lost, 0.5)
        row = record(comparison, name, "acc")
        assert row["test"] == "McNemar"
        assert row["p_value"] == pytest.approx(1 if gained == lost else mid)


def test_scores_are_tested_by_randomisation(comparison: Comparison, columns: Any) -> None:
    for name in ("b", "c", "d"):
        expected = scipy.stats.ttest_rel(columns[name]["score,none"], columns["a"]["score,none"])
        row = record(comparison, name, "score")
        assert row["test"] == "randomisation"
        assert row["p_value"] == pytest.approx(expected.pvalue, abs=0.02)


def test_holm_corrects_for_the_models_in_a_column(comparison: Comparison) -> None:
    for metric in ("acc", "score"):
        p_values = {name: record(comparison, name, metric)["p_value"] for name in ("b", "c", "d")}
        largest = 0.0
        for steps, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
            largest = max(largest, (3 - steps) * p_values[name])
            assert record(comparison, name, metric)["p_holm"] == pytest.approx(min(1.0, largest))
        assert record(comparison, "a", metric)["p_holm"] is None


def test_shares_have_wilson_intervals(comparison: Comparison, columns: Any) -> None:
    for name in columns:
        row = record(comparison, name, "acc")
        # solves |p - value| = z sqrt(p (1 - p) / n) for p
        for end in (row["low"], row["high"]):
            z = abs(end - row["value"]) / np.sqrt(end * (1 - end) / DOCUMENTS)
            assert z == pytest.approx(scipy.stats.norm.ppf(0.975), abs=1e-9)
        assert row["interval"] == "Wilson"


def test_scores_have_bootstrap_intervals(comparison: Comparison, columns: Any) -> None:
    for name, items in columns.items():
        row = record(comparison, name, "score")
        half = scipy.stats.t.ppf(0.975, DOCUMENTS - 1) * scipy.stats.sem(items["score,none"])
        assert row["interval"] == "bootstrap"
        assert row["low"] == pytest.approx(row["value"] - half, abs=0.1 * half)
        assert row["high"] == pytest.approx(row["value"] + half, abs=0.1 * half)


def test_marks_and_tones_follow_the_corrected_p_values(comparison: Comparison) -> None:
    (table,) = comparison.tables
    for row in table.rows:
        for metric, cell in zip(("acc", "score"), row[3:], strict=True):
            numbers = record(comparison, row[0].lines[0], metric)
            p_value = 1.0 if numbers["p_holm"] is None else numbers["p_holm"]
            assert ("‡" in cell.lines[1]) == (p_value < 0.01)
            assert ("†" in cell.lines[1]) == (0.01 <= p_value < 0.05)
            gain = "" if p_value >= 0.05 else "better" if numbers["difference"] > 0 else "worse"
            assert cell.tone == gain
    assert any(cell.tone for row in table.rows for cell in row)


@pytest.mark.parametrize("lower", [False, True])
def test_the_best_value_in_the_direction_of_the_metric_is_bold(lower: bool, tmp_path: Path) -> None:
    for name, shift in (("a", 0.0), ("b", 0.3)):
        items = {"task": {"score,none": scores(20, 1, shift)}}
        write(tmp_path, items, args={"pretrained": name}, directions={"score": not lower})
    (table,) = compare([tmp_path], baseline=tmp_path / "a").tables
    bold = [row[0].lines[0] for row in table.rows if row[3].bold]
    assert bold == (["a"] if lower else ["b"])
    assert table.headings[3].lines[1] == ("score ↓" if lower else "score ↑")
    assert [row[3].tone for row in table.rows] == ["", "worse" if lower else "better"]


def test_without_samples_the_interval_uses_the_standard_error(tmp_path: Path) -> None:
    write(tmp_path, {"task": {"score,none": scores(30, 1)}}, samples=False)
    (row,) = compare([tmp_path]).records
    assert row["interval"] == "standard error"
    assert row["high"] - row["value"] == pytest.approx(1.959964 * row["stderr"], rel=1e-6)


def test_one_document_has_no_interval_and_no_test(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path, {"task": {"acc,none": [1.0]}}, args={"pretrained": name})
    comparison = compare([tmp_path], baseline=tmp_path / "a")
    for row in comparison.records:
        assert row["value"] == 1.0
        missing = ("low", "high", "difference_low", "difference_high", "p_value", "p_holm")
        assert [row[name] for name in missing] == [None] * len(missing)
    assert any("no interval for a, b" in line for line in comparison.warnings)


def test_values_that_the_samples_do_not_reproduce_are_not_tested(tmp_path: Path) -> None:
    for name in ("a", "b"):
        items = {"task": {"score,none": scores(30, 1)}}
        write(tmp_path, items, args={"pretrained": name}, values={"score,none": 0.9})
    comparison = compare([tmp_path], baseline=tmp_path / "a")
    assert [row["p_value"] for row in comparison.records] == [None, None]
    assert [row["interval"] for row in comparison.records] == ["standard error"] * 2
    assert any("b was not tested" in line for line in comparison.warnings)


def test_identical_answers_on_few_documents_prove_nothing(tmp_path: Path) -> None:
    binary, continuous = [1.0, 0.0] * 4, scores(8, 1)
    for name in ("a", "b"):
        items = {"task": {"acc,none": binary, "score,none": continuous}}
        write(tmp_path, items, args={"pretrained": name})
    comparison = compare([tmp_path], baseline=tmp_path / "a", metrics=["acc", "score"])
    for metric in ("acc", "score"):
        row = record(comparison, "b", metric)
        assert row["difference"] == 0 and row["p_value"] == 1
        assert row["difference_low"] < -0.1 and row["difference_high"] > 0.1
        assert row["low"] < row["value"] < row["high"]
    assert "the same throughout" not in comparison.to_markdown()


@pytest.mark.parametrize("bad", ["b", "a"])
def test_a_model_whose_samples_do_not_fit_does_not_affect_the_others(
    bad: str, tmp_path: Path
) -> None:
    for seed, name in enumerate("abc"):
        values = {"score,none": 0.9} if name == bad else {}
        items = {"task": {"score,none": scores(30, seed, 0.1 * seed)}}
        write(tmp_path, items, args={"pretrained": name}, values=values)
    comparison = compare([tmp_path], baseline=tmp_path / "a")
    intervals = {row["label"]: row["interval"] for row in comparison.records}
    assert intervals == {n: "standard error" if n == bad else "bootstrap" for n in "abc"}
    tested = [row["label"] for row in comparison.records if row["p_value"] is not None]
    assert tested == (["c"] if bad == "b" else [])
    # the same result as without the bad model
    alone = compare([tmp_path / "a", tmp_path / "c"], baseline=tmp_path / "a")
    assert record(alone, "c", "score")["p_value"] == record(comparison, "c", "score")["p_value"]


def test_each_filter_has_its_own_samples(tmp_path: Path) -> None:
    strict, flexible = answers(40, 1, 0.3), answers(40, 2, 0.8)
    items = {"task": {"acc,strict": strict, "acc,flexible": flexible}}
    write(tmp_path, items)
    comparison = compare([tmp_path], metrics=["acc"])
    assert [(r["filter"], r["value"], r["interval"]) for r in comparison.records] == [
        ("strict", pytest.approx(np.mean(strict)), "Wilson"),
        ("flexible", pytest.approx(np.mean(flexible)), "Wilson"),
    ]
    (only,) = compare([tmp_path], metrics=["acc,flexible"]).records
    assert only["value"] == pytest.approx(np.mean(flexible))


def test_the_order_of_lines_does_not_matter(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write(tmp_path, {"task": {"score,none": scores(30, seed)}}, args={"pretrained": name})
    expected = record(compare([tmp_path], baseline=tmp_path / "a"), "b", "score")
    (samples,) = (tmp_path / "b").glob("samples_*.jsonl")
    samples.write_text("".join(reversed(samples.read_text().splitlines(keepends=True))))
    actual = record(compare([tmp_path], baseline=tmp_path / "a"), "b", "score")
    for name in ("difference_low", "difference_high", "p_value"):
        assert actual[name] == pytest.approx(expected[name], abs=1e-12)


def test_a_ratio_that_is_always_one_has_no_wilson_interval(tmp_path: Path) -> None:
    items = {"task": {"ratio,none": [1.0] * 20}}
    write(tmp_path, items, directions={"ratio": None})
    (row,) = compare([tmp_path]).records
    assert (row["interval"], row["low"], row["high"]) == ("bootstrap", 1.0, 1.0)
