"""A pair of runs: what its test depends on, and which documents it is made on."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
import scipy.stats
from compare_helpers import answers, record, scores, write
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from lm_eval_lora_boundary.compare import Comparison, compare

NUMBERS = ("value", "stderr", "documents", "low", "high", "interval", "common_documents")
NUMBERS += ("difference", "difference_low", "difference_high", "p_value", "test")


def numbers(comparison: Comparison, label: str) -> dict[str, Any]:
    return {name: record(comparison, label)[name] for name in NUMBERS}


columns = st.one_of(
    st.lists(st.sampled_from([0.0, 1.0]), min_size=12, max_size=12),
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=12, max_size=12),
)


@settings(max_examples=15, deadline=None)
@given(columns, columns, columns, st.integers(4, 12))
def test_a_third_run_changes_no_number_of_a_pair(
    ours: list[float], theirs: list[float], third: list[float], limit: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, items in (("a", ours), ("b", theirs), ("c", third[:limit])):
            write(folder, {"task": {"acc,none": items}}, args={"pretrained": label})
        pair = compare([folder / "a", folder / "b"], baseline=folder / "a")
        three = compare([folder], baseline=folder / "a")
        for label in ("a", "b"):
            assert numbers(three, label) == numbers(pair, label)
        alone = compare([folder / "b"])
        for end in ("value", "low", "high", "interval"):
            assert record(alone, "b")[end] == record(pair, "b")[end]


def test_a_third_run_with_fractions_leaves_mcnemar(tmp_path: Path) -> None:
    columns = {"a": answers(150, 1, 0.45), "c": answers(150, 2, 0.6), "b": scores(150, 3)}
    for name, items in columns.items():
        write(tmp_path, {"task": {"acc,none": items}}, args={"pretrained": name})
    comparison = compare([tmp_path], baseline=tmp_path / "a")
    assert record(comparison, "c")["test"] == "McNemar"
    assert record(comparison, "c")["interval"] == "Wilson"
    assert record(comparison, "b")["test"] == "randomisation"
    ours, theirs = np.array(columns["c"]), np.array(columns["a"])
    assert_mcnemar(record(comparison, "c")["p_value"], ours, theirs)


def assert_mcnemar(p_value: float, ours: Any, theirs: Any) -> None:
    """Assert that a p-value is that of the mid-p version of McNemar's test."""
    gained, lost = int((ours > theirs).sum()), int((ours < theirs).sum())
    exact = mcnemar([[0, gained], [lost, 0]], exact=True).pvalue
    mid = exact - scipy.stats.binom.pmf(min(gained, lost), gained + lost, 0.5)
    assert p_value == pytest.approx(1 if gained == lost else mid, rel=1e-9)


def shuffled(seed: int, count: int, limit: int, first_id: int) -> tuple[list[int], list[int]]:
    """Return which of some documents a run answered, in its order, and their numbers there."""
    generator = random.Random(seed)
    chosen = generator.sample(range(count), limit)
    return chosen, list(range(first_id, first_id + limit))


def write_run(
    folder: Path,
    name: str,
    task: Mapping[str, Sequence[Any]],
    chosen: Sequence[int],
    ids: Sequence[int] | None = None,
    **options: Any,
) -> None:
    """Write a run on some of the documents."""
    items = {key: [column[i] for i in chosen] for key, column in task.items()}
    documents = {place: {"question": i} for place, i in enumerate(chosen)}
    write(
        folder, {"task": items}, args={"pretrained": name}, documents=documents, ids=ids, **options
    )


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.integers(30, 60), st.integers(30, 60))
def test_documents_are_paired_by_content_under_other_ids_orders_and_limits(
    seed: int, limit: int, other_limit: int
) -> None:
    ours, theirs = answers(60, seed, 0.6), answers(60, seed + 1, 0.4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = {}
        for label, column, count in (("a", theirs, other_limit), ("b", ours, limit)):
            chosen[label], ids = shuffled(seed + len(chosen), 60, count, 1000 * len(chosen))
            write_run(folder, label, {"acc,none": column}, chosen[label], ids)
        comparison = compare([folder], baseline=folder / "a")
    common = sorted(set(chosen["a"]) & set(chosen["b"]))
    row = record(comparison, "b")
    a, b = np.array(theirs)[common], np.array(ours)[common]
    assert row["documents"] == limit
    assert row["value"] == pytest.approx(np.mean([ours[i] for i in chosen["b"]]))
    assert row["common_documents"] == len(common)
    assert row["difference"] == pytest.approx((b - a).mean(), abs=1e-12)
    if (a != b).any():
        assert_mcnemar(row["p_value"], b, a)
    told = f"task: b and a share {len(common)} of their {limit} and {other_limit} documents"
    same = len(common) == limit == other_limit
    assert same != any(line.startswith(told) for line in comparison.warnings)
    cell = comparison.tables[0].rows[1][3]
    assert (f"({len(common)} documents)" in cell.lines[1]) != same
    told = [line for line in comparison.legend if line.startswith("(n documents)")]
    assert bool(told) != same


def test_the_order_and_numbering_of_documents_change_no_number(tmp_path: Path) -> None:
    ours, theirs = scores(30, 1), scores(30, 2, 0.03)
    write_run(tmp_path, "a", {"score,none": theirs}, range(30))
    write_run(tmp_path / "x", "b", {"score,none": ours}, range(30))
    write_run(tmp_path / "y", "b", {"score,none": ours}, *shuffled(5, 30, 30, 7))
    first, second = (
        numbers(compare([tmp_path / f], baseline=tmp_path / "a"), "b") for f in ("x", "y")
    )
    paired = NUMBERS[NUMBERS.index("common_documents") :]
    assert [first[name] for name in paired] == pytest.approx([second[name] for name in paired])


def test_a_corpus_metric_is_computed_on_the_common_documents(tmp_path: Path) -> None:
    words = ["the", "a", "cat", "dog", "sat", "ran", "on", "in", "mat", "house", "red", "blue"]
    generator = random.Random(3)
    references = [" ".join(generator.choices(words, k=9)) for _ in range(40)]

    def responses(change: float) -> list[list[str]]:
        return [
            [r, " ".join(w if generator.random() > change else "x" for w in r.split())]
            for r in references
        ]

    def bleu(pairs: Sequence[Sequence[str]]) -> float:
        return sacrebleu.corpus_bleu([p for _, p in pairs], [[r for r, _ in pairs]]).score

    columns = {"a": responses(0.3), "b": responses(0.1)}
    chosen = {"a": range(5, 40), "b": range(30)}
    for name, column in columns.items():
        value = bleu([column[i] for i in chosen[name]])
        write_run(tmp_path, name, {"bleu,none": column}, chosen[name], values={"bleu,none": value})
    row = record(compare([tmp_path], baseline=tmp_path / "a"), "b")
    common = range(5, 30)
    expected = [bleu([columns[name][i] for i in common]) for name in "ba"]
    assert row["common_documents"] == 25
    assert row["difference"] == pytest.approx(expected[0] - expected[1], rel=1e-9)
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert 0 < row["p_value"] <= 1


def test_copies_of_a_document_count_once(tmp_path: Path) -> None:
    ours, theirs = answers(40, 1, 0.7), answers(40, 2, 0.5)
    chosen = [*range(40), *[39] * 20]  # one document 21 times
    for name, column in (("a", theirs), ("b", ours)):
        write_run(tmp_path / "copies", name, {"acc,none": column}, chosen)
        write_run(tmp_path / "once", name, {"acc,none": column}, range(40))
    copies, once = (
        compare([tmp_path / f], baseline=tmp_path / f / "a") for f in ("copies", "once")
    )
    for name in ("common_documents", "difference", "difference_low", "difference_high", "p_value"):
        assert record(copies, "b")[name] == record(once, "b")[name]
    # lm-eval's own value counts all of them, but they do not make its interval shorter
    row = record(copies, "b")
    assert row["value"] == pytest.approx(np.mean([ours[i] for i in chosen]))
    effective = 60**2 / (39 + 21**2)
    expected = proportion_confint(row["value"] * effective, effective, method="wilson")
    assert (row["low"], row["high"]) == pytest.approx(expected, abs=1e-9)
    for label in ("a", "b"):
        told = f"task: 20 of 60 documents of {label} are copies of others"
        assert [line for line in copies.warnings if line.startswith(told)]
    assert not once.warnings


def test_copies_widen_the_interval_of_a_score(tmp_path: Path) -> None:
    column = scores(30, 1)
    write_run(tmp_path / "twice", "a", {"score,none": column}, [*range(30), *range(30)])
    write_run(tmp_path / "once", "a", {"score,none": column}, range(30))
    twice, once = (record(compare([tmp_path / f]), "a") for f in ("twice", "once"))
    for end in ("low", "high"):
        # the same up to the few draws of the bootstrap and Student's factor for 60
        assert twice[end] == pytest.approx(once[end], abs=0.05 * (once["high"] - once["low"]))


def test_documents_that_a_task_does_not_score_are_not_common(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        file = write(
            tmp_path, {"task": {"score,none": scores(30, seed)}}, args={"pretrained": name}
        )
        (samples,) = file.parent.glob("samples_*.jsonl")
        lines = [json.loads(line) for line in samples.read_text().splitlines()]
        left_out = lines[: 5 * seed]
        for line in left_out:
            line["metrics"].remove("score")
            del line["score"]
        samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
        content = json.loads(file.read_text())
        content["results"]["task"]["score,none"] = float(np.mean(scores(30, seed)[5 * seed :]))
        file.write_text(json.dumps(content))
    row = record(compare([tmp_path], baseline=tmp_path / "a"), "b")
    assert (row["documents"], row["common_documents"]) == (20, 20)
    expected = np.subtract(scores(30, 2), scores(30, 1))[10:]
    assert row["difference"] == pytest.approx(expected.mean())
    assert row["p_value"] == pytest.approx(scipy.stats.ttest_1samp(expected, 0).pvalue, abs=0.03)


def strip(folder: Path, *names: str) -> None:
    """Remove from samples what older versions of lm-eval did not log."""
    for file in folder.rglob("samples_*.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            for name in names:
                del line[name]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))


HASHES = ("doc_hash", "prompt_hash", "target_hash")


@pytest.mark.parametrize("missing", [("filter", "metrics"), ("filter", "metrics", *HASHES)])
def test_samples_of_an_older_lm_eval_are_paired(missing: Any, tmp_path: Path) -> None:
    for name, rate in (("a", 0.4), ("b", 0.7)):
        write(tmp_path, {"task": {"acc,none": answers(40, 1, rate)}}, args={"pretrained": name})
    new = compare([tmp_path], baseline=tmp_path / "a")
    strip(tmp_path / "b", *missing)
    old = compare([tmp_path], baseline=tmp_path / "a")
    assert old.records == new.records
    assert not old.warnings


def test_old_samples_of_several_filters_are_not_used(tmp_path: Path) -> None:
    items = {"acc,strict": answers(40, 1, 0.3), "acc,flexible": answers(40, 2, 0.8)}
    for name in ("a", "b"):
        write(tmp_path, {"task": items}, args={"pretrained": name})
    strip(tmp_path / "b", "filter", "metrics")
    comparison = compare([tmp_path])
    assert [row["interval"] for row in comparison.records] == ["Wilson", "standard error"]
    assert [row["p_value"] for row in comparison.records] == [None, None]
    reason = "cannot be used (an older lm-eval wrote them and did not say which filter"
    assert [line for line in comparison.warnings if reason in line and "standard error" in line]
