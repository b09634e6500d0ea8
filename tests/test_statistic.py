"""Metrics as something to resample: the values that lm-eval reports, and sacrebleu's own tests."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import sacrebleu
from lm_eval.api import metrics
from sacrebleu.significance import PairedTest

from lm_eval_lora_boundary import task_metrics
from lm_eval_lora_boundary.statistic import CorpusScores, statistic
from lm_eval_lora_boundary.stats import Bootstrap

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "under",
    "mat",
    "tree",
    "quickly",
    "slowly",
    "and",
    "then",
    "it",
    "was",
]


def translations(count: int, errors: float, seed: int) -> list[tuple[str, str]]:
    """Return references and responses with a share of wrong words."""
    chosen, changed = random.Random(1), random.Random(seed)
    pairs = []
    for _ in range(count):
        words = chosen.choices(WORDS, k=chosen.randint(5, 14))
        wrong = [changed.choice(WORDS) if changed.random() < errors else w for w in words]
        pairs.append((" ".join(words), " ".join(wrong)))
    return pairs


@pytest.mark.parametrize(
    ("name", "aggregate"),
    [
        ("bleu", metrics.bleu),
        ("chrf", metrics.chrf),
        ("chrf++", metrics.chrfpp),
        ("ter", metrics.ter),
        ("bleu", task_metrics.bleu),
        ("bleu", task_metrics.bleu_zh),
        ("chrf", task_metrics.chrf),
    ],
)
def test_corpus_metrics_of_drawn_documents_are_sacrebleus(name: str, aggregate: object) -> None:
    assert callable(aggregate)
    columns = [translations(12, errors, seed) for seed, errors in enumerate((0.1, 0.4))]
    found = statistic(name, columns, [aggregate(column) for column in columns])
    assert isinstance(found, CorpusScores)
    counts = np.random.default_rng(1).multinomial(12, [1 / 12] * 12, size=3)
    for row, values in zip(counts, found.resampled(counts), strict=True):
        drawn = [
            [p for p, n in zip(column, row, strict=True) for _ in range(n)] for column in columns
        ]
        assert values == pytest.approx([aggregate(column) for column in drawn], rel=1e-9)


def test_bleu_intervals_and_p_values_agree_with_sacrebleus_paired_bootstrap() -> None:
    columns = [translations(60, errors, seed) for seed, errors in enumerate((0.30, 0.36))]
    references = [[reference for reference, _ in columns[0]]]
    systems = [(str(i), [response for _, response in c]) for i, c in enumerate(columns)]
    test = PairedTest(systems, {"BLEU": sacrebleu.BLEU()}, references, "bs", n_samples=2000)
    _, results = test()
    baseline, other = results["BLEU"]
    found = statistic("bleu", columns, [baseline.score, other.score])
    assert found is not None
    bootstrap = Bootstrap(found)
    low, high = bootstrap.interval()
    half = (high - low) / 2
    # 2,000 draws on both sides; the expanded interval is 2 % wider with 60 documents
    assert half[0] == pytest.approx(baseline.ci, rel=0.12)
    assert half[1] == pytest.approx(other.ci, rel=0.12)
    ours = bootstrap.difference(0).p_value[1]
    # sacrebleu's test centres absolute differences, one-sided: it is at most half of the two-sided
    assert other.p_value <= ours
    differences = bootstrap.draws[:, 1] - bootstrap.draws[:, 0]
    observed = other.score - baseline.score
    again = ((np.abs(differences - observed) >= abs(observed)).sum() + 1) / 2001
    assert ours == pytest.approx(again)


def test_other_metrics_are_what_the_tasks_own_function_makes_of_drawn_documents() -> None:
    columns = [[-1.0, -2.0, -0.5], [-1.5, -1.0, -0.1]]
    reported = [metrics.perplexity(column) for column in columns]
    found = statistic("perplexity", columns, reported, metrics.perplexity)
    assert found is not None and found.costly and found.binary is None
    (values,) = found.resampled(np.array([[2, 0, 1]]))
    assert values == pytest.approx([math.exp(2.5 / 3), math.exp(3.1 / 3)])


def test_means_are_recognised_and_right_or_wrong_too() -> None:
    found = statistic("acc", [[1, 0, True], [0.0, 1, 1]], [2 / 3, 2 / 3])
    assert found is not None and found.binary is not None and not found.costly
    found = statistic("f1", [[0.5, 0.0]], [0.25])
    assert found is not None and found.binary is None


@pytest.mark.parametrize(
    ("columns", "reported"),
    [
        ([[1.0, 0.0]], [0.6]),  # not their mean
        ([[("a b", "a b")] * 3], [12.0]),  # not their BLEU
        ([["text", "text"]], [1.0]),
        ([[float("nan"), 1.0]], [float("nan")]),
        ([[]], [0.0]),
    ],
)
def test_what_does_not_give_the_reported_value_is_not_used(columns: object, reported: list) -> None:
    assert statistic("bleu", columns, reported) is None  # type: ignore[arg-type]
