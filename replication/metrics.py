"""A task's metrics in a record: which end is good, and their values in a form to resample."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sacrebleu import BLEU, CHRF

from lm_eval_lora_boundary.stats.aggregates import Aggregates
from lm_eval_lora_boundary.stats.statistic import CorpusScores, Means, Statistic

GOLD = "loglikelihood,none"
LENGTHS = "length_ratio_corpus,none"
Record = Mapping[str, Any]


def _ratio(items: Sequence[Sequence[float]]) -> float:
    """Return the sum of the first numbers over the sum of the second."""
    first, second = zip(*items, strict=True)
    return float(sum(first) / max(1e-12, sum(second)))


# metrics of two sums over documents, by kind
OF_SUMS: Mapping[str, Callable[[Sequence[Sequence[float]]], float]] = {
    "ratio": _ratio,
    # log-likelihood, and number of words or bytes
    "perplexity": lambda items: math.exp(-_ratio(items)),
    "bits": lambda items: -_ratio(items) / math.log(2),
}


def sign_of(task: Record, metric: str) -> int:
    """Return 1 if large values are good or nothing is said, -1 if small ones are."""
    return -1 if task["metrics"][metric]["higher_is_better"] is False else 1


def scores(task: Record, metric: str, cuts: Sequence[str]) -> Statistic:
    """Return a metric under cuts, in a form that can be resampled."""
    entry = task["metrics"][metric]
    columns = [entry["cuts"][cut]["documents"] for cut in cuts]
    if entry["kind"] == "mean":
        return Means(np.array(columns, dtype=np.float64).T)
    if entry["kind"] in OF_SUMS:
        return Aggregates(columns, OF_SUMS[entry["kind"]])
    scorer = {"bleu": BLEU, "chrf": CHRF}[entry["kind"]]()
    return CorpusScores([np.array(column) for column in columns], scorer)
