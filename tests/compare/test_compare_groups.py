"""Paired differences of groups, against a slow second implementation."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
import scipy.stats
from compare_helpers import answers, scores, write
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_eval_lora_boundary.compare import Comparison, compare
from lm_eval_lora_boundary.compare.stratified import Stratum, stratified_difference
from lm_eval_lora_boundary.stats.statistic import Means
from lm_eval_lora_boundary.stats.units import Units

Columns = Mapping[str, Sequence[float]]  # by task


def slow(differences: Sequence[Sequence[float]], weights: Sequence[float], scale: float) -> Any:
    """Return the difference, its standard error, the p-value and the critical value.

    Lists every way to swap the answers to documents, over all tasks together.
    """

    def studentised(signs: Sequence[int]) -> tuple[float, float]:
        signs = list(signs)
        heaviest = max(w / len(d) for d, w in zip(differences, weights, strict=True))
        total, variance = 0.0, 2 * (scale * heaviest) ** 2
        for column, weight in zip(differences, weights, strict=True):
            flipped = [signs.pop() * value for value in column]
            mean = sum(flipped) / len(flipped)
            spread = sum((value - mean) ** 2 for value in flipped) / (len(flipped) - 1)
            total += weight * mean
            variance += weight**2 * spread / len(flipped)
        return total, math.sqrt(variance)

    documents = sum(map(len, differences))
    ways = [studentised(signs) for signs in itertools.product((1, -1), repeat=documents)]
    observed, stderr = studentised([1] * documents)
    t = [abs(total) / error for total, error in ways]

    def p_value(statistic: float) -> float:
        return sum(each >= statistic - 1e-9 for each in t) / len(t)

    # Student's quantile, unless the test says something else about it
    critical = float(scipy.stats.t.ppf(0.975, documents - len(differences)))
    for statistic in t:
        if p_value(statistic) > 0.05:
            critical = max(critical, statistic)
    for statistic in t:
        if p_value(statistic) <= 0.05:
            critical = min(critical, statistic)
    return observed, stderr, p_value(abs(observed) / stderr), critical


tasks = st.lists(
    st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=2, max_size=5),
    min_size=1,
    max_size=3,
).filter(lambda columns: sum(map(len, columns)) <= 10)


@settings(max_examples=40, deadline=None)
@given(tasks, st.booleans())
def test_few_documents_are_tested_as_in_a_slow_implementation(
    differences: list[list[float]], by_size: bool
) -> None:
    sizes = [len(column) if by_size else 1 for column in differences]
    weights = [size / sum(sizes) for size in sizes]
    strata = [
        Stratum(
            # the values have a range of 2, whatever the differences are
            Means(np.array([[value, 0.0] for value in column]) + np.array([[0.5, 0.5]])),
            Units(len(column)),
            weight,
            sum(value != 0 for value in column),
        )
        for column, weight in zip(differences, weights, strict=True)
    ]
    values = np.concatenate([s.statistic.values for s in strata if s.statistic.values is not None])
    scale = 1.0 if 0 <= values.min() <= values.max() <= 1 else float(np.ptp(values))
    value, stderr, p_value, critical = slow(differences, weights, scale)
    found = stratified_difference(strata)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.p_value == pytest.approx(p_value, abs=1e-12)
    expected = (value - critical * stderr, value + critical * stderr)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-6)
    assert (found.low > 0 or found.high < 0) == (found.p_value <= 0.05)


def write_group(
    folder: Path,
    name: str,
    columns: Columns,
    *,
    by_size: bool = True,
    value: float | None = None,
    **options: Any,
) -> None:
    sizes = [len(column) if by_size else 1 for column in columns.values()]
    mean = float(np.average([np.mean(column) for column in columns.values()], weights=sizes))
    write(
        folder,
        {task: {"acc,none": column} for task, column in columns.items()},
        args={"pretrained": name},
        groups={"all": {"acc,none": mean if value is None else value, "acc_stderr,none": 0.01}},
        **options,
    )


def group(comparison: Comparison, label: str = "b") -> dict[str, Any]:
    (row,) = (r for r in comparison.records if r["label"] == label and r["task"] == "all")
    return row


@pytest.mark.parametrize("by_size", [True, False])
def test_a_group_is_compared_as_lm_eval_averages_it(by_size: bool, tmp_path: Path) -> None:
    columns = {
        name: {"one": answers(30, seed, rate), "two": answers(120, seed + 5, rate - 0.1)}
        for seed, (name, rate) in enumerate([("a", 0.5), ("b", 0.65)])
    }
    for name, own in columns.items():
        write_group(tmp_path, name, own, by_size=by_size)
    comparison = compare([tmp_path], baseline=tmp_path / "a")
    row = group(comparison)
    differences = [np.subtract(columns["b"][t], columns["a"][t]) for t in ("one", "two")]
    weights = [0.2, 0.8] if by_size else [0.5, 0.5]
    means = [column.mean() for column in differences]
    assert row["difference"] == pytest.approx(np.average(means, weights=weights), abs=1e-12)
    assert row["difference"] == pytest.approx(row["value"] - group(comparison, "a")["value"])
    assert row["common_documents"] == 150 and row["test"] == "stratified randomisation"
    # close to the usual interval of a stratified mean; the permutations are of 0/1 differences, so
    # few critical values are possible
    parts = [w * scipy.stats.sem(d) for w, d in zip(weights, differences, strict=True)]
    stderr = math.hypot(*parts)
    for end, sign in (("difference_low", -1), ("difference_high", 1)):
        expected = row["difference"] + sign * 1.976 * stderr  # Student's quantile for 148
        assert row[end] == pytest.approx(expected, abs=0.2 * stderr)
    z = row["difference"] / stderr
    assert row["p_value"] == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), abs=0.01)
    (sentence,) = [s for s in comparison.sentences if s.startswith("all, acc: b scores")]
    assert "on 150 common documents" in sentence and "stratified randomisation" in sentence
    assert not comparison.warnings


def test_a_group_is_compared_on_the_common_documents_of_its_tasks(tmp_path: Path) -> None:
    ours = {"one": answers(40, 1, 0.6), "two": answers(60, 2, 0.6)}
    theirs = {"one": answers(40, 3, 0.4), "two": answers(60, 4, 0.4)}
    write_group(tmp_path, "b", ours)
    write_group(tmp_path, "a", {task: column[:20] for task, column in theirs.items()})
    comparison = compare([tmp_path], baseline=tmp_path / "a")
    row = group(comparison)
    expected = np.mean([np.subtract(ours[t][:20], theirs[t][:20]).mean() for t in ours])
    assert row["common_documents"] == 40
    assert row["difference"] == pytest.approx(expected)
    told = [line for line in comparison.warnings if "share 20 of their" in line]
    assert [line.partition(":")[0] for line in told] == ["one", "two"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": 0.9}, "its value is not the mean of its tasks' values, weighted or not"),
        ({"version": 2.0}, "used version 2.0 of the task"),
        ({"samples": False}, "has no samples"),
        ({"documents": {i: f"other {i}" for i in range(60)}}, "share none of their"),
        (
            {"documents": {i: f"other {i}" for i in range(1, 60)}},
            "one has fewer than 2 common documents",
        ),
        ({"values": {"acc,none": 0.5}, "value": 0.5}, "do not reproduce its value"),
        ({"more": True}, "the runs have different tasks in the group"),
    ],
)
def test_why_a_group_was_not_compared(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    columns = {"one": answers(40, 1, 0.6), "two": answers(60, 2, 0.6)}
    write_group(tmp_path, "a", columns)
    own = {**columns, "three": columns["one"]} if change.pop("more", False) else columns
    write_group(tmp_path, "b", own, **change)
    comparison = compare([tmp_path / "a", tmp_path / "b"])
    row = group(comparison)
    assert (row["p_value"], row["difference"]) == (None, None)
    (line,) = [line for line in comparison.warnings if line.startswith("all, acc,none: b was not")]
    assert reason in line


def test_groups_in_groups(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_group(tmp_path, name, {"one": scores(30, seed), "two": scores(50, seed)})
    for file in tmp_path.rglob("results_*.json"):
        text = file.read_text().replace(
            '"all": [\n      "one",\n      "two"\n    ]',
            '"all": ["inner", "two"], "inner": ["one"]',
        )
        assert '"inner"' in text
        file.write_text(text)
    row = group(compare([tmp_path], baseline=tmp_path / "a"))
    assert row["common_documents"] == 80 and row["p_value"] is not None


def test_identical_answers_prove_nothing_about_a_group(tmp_path: Path) -> None:
    for name in "ab":
        write_group(tmp_path, name, {"one": answers(30, 1, 0.5), "two": answers(30, 2, 0.5)})
    row = group(compare([tmp_path], baseline=tmp_path / "a"))
    assert (row["difference"], row["p_value"]) == (0, 1)
    # two imaginary documents beside the 60, and Student's quantile for 58
    assert row["difference_high"] == pytest.approx(2.0017 * math.sqrt(2) / 60, rel=1e-3)
    assert row["difference_low"] == -row["difference_high"]


@pytest.mark.parametrize("kind", ["binary", "skewed"])
def test_intervals_of_groups_hold_what_they_promise(kind: str) -> None:
    """Simulate 300 groups of three unlike tasks; the standard error of a share of 95 % is 1.3 %."""
    generator = np.random.default_rng(1)
    sizes, shifts, weights = (15, 40, 60), (0.3, 0.0, -0.1), (1 / 3, 1 / 3, 1 / 3)
    truth, covered = float(np.dot(weights, shifts)), 0
    for _ in range(300):
        strata = []
        for size, shift, weight in zip(sizes, shifts, weights, strict=True):
            hard = generator.uniform(size=size)
            if kind == "binary":
                # a document's chances differ by the shift, wherever it lies
                ours = (generator.uniform(size=size) < 0.4 + 0.2 * hard + shift / 2).astype(float)
                theirs = (generator.uniform(size=size) < 0.4 + 0.2 * hard - shift / 2).astype(float)
            else:
                theirs = hard
                ours = hard + shift + 0.3 * (generator.exponential(size=size) - 1)
            values = np.column_stack([ours, theirs])
            differing = int((ours != theirs).sum())
            strata.append(Stratum(Means(values), Units(size), weight, differing))
        found = stratified_difference(strata)
        covered += found.low <= truth <= found.high
    assert covered / 300 >= 0.92


def test_a_group_of_corpus_metrics(tmp_path: Path) -> None:
    generator = random.Random(4)
    words = [f"w{i}" for i in range(30)]
    references = {t: [" ".join(generator.choices(words, k=12)) for _ in range(60)] for t in "xy"}
    corpora: dict[str, dict[str, list[list[str]]]] = {
        name: {
            task: [
                [r, " ".join(w if generator.random() > change else "?" for w in r.split())]
                for r in column
            ]
            for task, column in references.items()
        }
        for name, change in (("a", 0.25), ("b", 0.2))
    }

    def bleu(pairs: Sequence[Sequence[str]]) -> float:
        return float(sacrebleu.corpus_bleu([p for _, p in pairs], [[r for r, _ in pairs]]).score)

    for name, own in corpora.items():
        # the values are no means, so they are set below
        values = {task: bleu(pairs) for task, pairs in own.items()}
        write(
            tmp_path,
            {task: {"bleu,none": pairs} for task, pairs in own.items()},
            args={"pretrained": name},
            groups={"all": {"bleu,none": float(np.mean(list(values.values())))}},
        )
        (file,) = (tmp_path / name).glob("results_*.json")
        content = json.loads(file.read_text())
        for task, value in values.items():
            content["results"][task]["bleu,none"] = value
        file.write_text(json.dumps(content))
    row = group(compare([tmp_path], baseline=tmp_path / "a"))

    def difference(drawn: Mapping[str, Sequence[int]]) -> float:
        scores = {
            name: np.mean([bleu([own[task][i] for i in drawn[task]]) for task in "xy"])
            for name, own in corpora.items()
        }
        return float(scores["b"] - scores["a"])

    assert row["difference"] == pytest.approx(difference(dict.fromkeys("xy", range(60))))
    # as wide as a bootstrap within each task says, up to the noise of its 200 draws (5 %), and of
    # treating BLEU as a mean
    draws = [difference({t: generator.choices(range(60), k=60) for t in "xy"}) for _ in range(200)]
    half = (row["difference_high"] - row["difference_low"]) / 2
    assert half == pytest.approx(1.98 * np.std(draws), rel=0.2)
