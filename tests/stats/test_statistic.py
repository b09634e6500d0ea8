"""Statistics reproduce the values that lm-eval reports and the paired tests of sacrebleu."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import sacrebleu
from sacrebleu.significance import PairedTest

from lm_eval_lora_boundary.harness import task_metrics
from lm_eval_lora_boundary.stats.aggregates import Aggregates
from lm_eval_lora_boundary.stats.bootstrap import Bootstrap, bootstrap
from lm_eval_lora_boundary.stats.statistic import CorpusScores, statistic
from lm_eval_lora_boundary.upstream.lm_eval import own_aggregation

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


OWN = [(name, own_aggregation(name, None)) for name in ("bleu", "chrf", "ter")]
OWN += [each for each in [("chrf++", own_aggregation("chrf++", None))] if each[1]]  # not in 0.5


@pytest.mark.parametrize(
    ("name", "aggregate"),
    [
        *OWN,
        ("bleu", task_metrics.bleu),
        ("bleu", task_metrics.bleu_zh),
        ("chrf", task_metrics.chrf),
    ],
)
def test_resampled_corpus_metrics_agree_with_sacrebleu(name: str, aggregate: object) -> None:
    assert callable(aggregate)
    columns = [translations(12, errors, seed) for seed, errors in enumerate((0.1, 0.4))]
    found = statistic(name, columns, [aggregate(column) for column in columns])
    assert isinstance(found, CorpusScores)
    counts = np.random.default_rng(1).multinomial(12, [1 / 12] * 12, size=3)
    for row, values in zip(counts, found.resample(counts), strict=True):
        drawn = [
            [p for p, n in zip(column, row, strict=True) for _ in range(n)] for column in columns
        ]
        assert values == pytest.approx([aggregate(column) for column in drawn], rel=1e-9)


def test_bleu_intervals_agree_with_sacrebleus_paired_bootstrap() -> None:
    columns = [translations(60, errors, seed) for seed, errors in enumerate((0.30, 0.36))]
    references = [[reference for reference, _ in columns[0]]]
    systems = [(str(i), [response for _, response in c]) for i, c in enumerate(columns)]
    test = PairedTest(systems, {"BLEU": sacrebleu.BLEU()}, references, "bs", n_samples=2000)
    _, results = test()
    baseline, other = results["BLEU"]
    found = statistic("bleu", columns, [baseline.score, other.score])
    assert found is not None
    drawn = Bootstrap(found)
    low, high = drawn.interval()
    half = (high - low) / 2
    # both use 2,000 draws; with 60 documents the expanded interval is 2 % wider
    assert half[0] == pytest.approx(baseline.ci, rel=0.12)
    assert half[1] == pytest.approx(other.ci, rel=0.12)
    difference = drawn.difference(0)
    width = difference.high[1] - difference.low[1]
    ends = np.percentile(drawn.draws[:, 1] - drawn.draws[:, 0], [2.5, 97.5])
    assert width == pytest.approx(ends[1] - ends[0], rel=0.1)


@pytest.mark.parametrize("other", [0.31, 0.36, 0.45])
def test_p_values_agree_with_sacrebleus_paired_approximate_randomisation(other: float) -> None:
    columns = [translations(60, errors, seed) for seed, errors in enumerate((0.30, other))]
    references = [[reference for reference, _ in columns[0]]]
    systems = [(str(i), [response for _, response in c]) for i, c in enumerate(columns)]
    scorers = {"BLEU": sacrebleu.BLEU(), "chrF2": sacrebleu.CHRF()}
    _, results = PairedTest(systems, scorers, references, "ar", n_samples=2000)()
    for name, metric in (("BLEU", "bleu"), ("chrF2", "chrf")):
        baseline, result = results[name]
        found = statistic(metric, columns, [baseline.score, result.score])
        assert found is not None
        difference = Bootstrap(found).difference(0)
        p_value = difference.p_value[1]
        # both use 2,000 permutations
        assert p_value == pytest.approx(result.p_value, abs=0.05 if p_value > 0.05 else 0.015)
        assert (difference.low[1] <= 0 <= difference.high[1]) == (p_value > 0.05)


def test_other_metrics_use_the_aggregation_function_of_the_task() -> None:
    columns = [[-1.0, -2.0, -0.5], [-1.5, -1.0, -0.1]]
    perplexity = own_aggregation("perplexity", None)
    assert perplexity is not None
    reported = [perplexity(column) for column in columns]
    found = statistic("perplexity", columns, reported, perplexity)
    assert found is not None and found.costly and found.binary is None
    (values,) = found.resample(np.array([[2, 0, 1]]))
    assert values == pytest.approx([math.exp(2.5 / 3), math.exp(3.1 / 3)])


def test_means_and_binary_metrics_are_recognised() -> None:
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
def test_items_that_do_not_give_the_reported_value_are_not_used(
    columns: object, reported: list
) -> None:
    assert statistic("bleu", columns, reported) is None  # type: ignore[arg-type]


def labels(documents: int, columns: int) -> list[list[tuple[int, int]]]:
    """Return (gold, predicted) labels; later columns are right more often."""
    source = random.Random(3)
    gold = [source.randrange(2) for _ in range(documents)]
    return [
        [(g, g if source.random() < 0.6 + 0.02 * c else 1 - g) for g in gold]
        for c in range(columns)
    ]


def mcc(items: list[tuple[int, int]]) -> float:
    return float(np.corrcoef(*zip(*items, strict=True))[0, 1])


def test_equal_counts_of_labels_are_computed_once() -> None:
    calls = 0

    def counted(items: list[tuple[int, int]]) -> float:
        nonlocal calls
        calls += 1
        return mcc(items)

    columns = labels(60, 6)
    found = statistic("mcc", columns, [mcc(column) for column in columns], counted)  # type: ignore[arg-type]
    assert isinstance(found, Aggregates)
    drawn = bootstrap(found)
    assert drawn is not None and len(drawn.draws) == 2000
    found_full, found_base = drawn.difference(5), drawn.difference(0)
    assert calls < 6 * 2000  # not 6 × 2,000 draws and 2 × 2 × 5 × 2,000 permutations
    counts = np.random.default_rng(0).multinomial(60, [1 / 60] * 60, size=3)
    for row, values in zip(counts, found.resample(counts), strict=True):
        again = [
            mcc([item for item, n in zip(column, row, strict=True) for _ in range(n)])
            for column in columns
        ]
        assert values == pytest.approx(again)
    for difference, place in ((found_full, 0), (found_base, 5)):
        assert difference.p_value[place] > 0
        excluded = difference.low[place] > 0 or difference.high[place] < 0
        assert excluded == (difference.p_value[place] <= 0.05)


def test_permuted_differences_use_the_aggregation_function() -> None:
    source = np.random.default_rng(1)
    columns = source.normal(size=(3, 30)).tolist()
    found = statistic("median", columns, [float(np.median(c)) for c in columns], np.median)  # type: ignore[arg-type]
    assert isinstance(found, Aggregates)
    signs = source.choice(np.array([-1, 1], dtype=np.int8), size=(4, 30))
    for row, values in zip(signs, found.permuted_differences(signs, 2), strict=True):
        for column in (0, 1):
            mine = np.where(row > 0, columns[column], columns[2])
            theirs = np.where(row > 0, columns[2], columns[column])
            assert values[column] == pytest.approx(np.median(mine) - np.median(theirs))
        assert values[2] == 0


@pytest.mark.parametrize(
    ("seconds", "draws", "message"),
    [(1e-6, 2000, ""), (3e-4, 1000, "using only 1000 draws"), (1.0, None, "not available")],
)
def test_a_slow_function_gets_fewer_draws_or_none(
    seconds: float, draws: int | None, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    columns = np.random.default_rng(0).normal(size=(20, 15)).tolist()
    found = Aggregates(columns, lambda items: float(np.median(items)))
    found._seconds_per_call = seconds
    found._evaluate_items = lambda items: 0.0  # type: ignore[assignment, method-assign]
    drawn = bootstrap(found)
    assert (None if drawn is None else len(drawn.draws)) == draws
    assert message in caplog.text
    assert len(caplog.records) == bool(message)
