"""Documents and metrics of HotpotQA's answer task.

``exact_match`` and ``f1`` are those of its official evaluation script. ``subspan_em`` and
``best_subspan_em`` ask whether the response contains the answer, as words and as a text.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import Any

from datasets import DatasetDict, load_dataset

from lm_eval_lora_boundary.harness.task_metrics import length_metrics
from lm_eval_lora_boundary.upstream.lm_eval import computed_metric

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
# "yes it is" for "yes" is not half right: these answers are right or wrong.
_CLOSED_ANSWERS = {"yes", "no", "noanswer"}

# The answers to the official test questions are not public. So the hub's validation split is our
# test split, and our validation split is the first tenth of the hub's train split.
_SPLITS = {"train": "train[10%:]", "validation": "train[:10%]", "test": "validation"}


def load(**_metadata: Any) -> DatasetDict:
    """Return our splits.

    Args:
        **_metadata: Arguments that lm-eval adds from the task's metadata and ``--metadata``.
    """
    return DatasetDict(load_dataset("hotpotqa/hotpot_qa", "distractor", split=_SPLITS))


def normalize(text: str) -> str:
    """Return the text in lower case, without punctuation, articles and superfluous whitespace."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(response: str, answer: str) -> float:
    """Return 1 if response and answer are the same after normalisation."""
    return float(normalize(response) == normalize(answer))


def f1(response: str, answer: str) -> float:
    """Return the harmonic mean of token precision and recall after normalisation."""
    response, answer = normalize(response), normalize(answer)
    if response != answer and not _CLOSED_ANSWERS.isdisjoint((response, answer)):
        return 0.0
    response_tokens, answer_tokens = response.split(), answer.split()
    shared = (Counter(response_tokens) & Counter(answer_tokens)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(response_tokens), shared / len(answer_tokens)
    return 2 * precision * recall / (precision + recall)


F1 = computed_metric(f1)  # for the YAML file


def subspan_em(response: str, answer: str) -> float:
    """Return 1 if the response contains the answer's words, next to each other and in order.

    Only whole words count: "no" is not found in "November". For the test that is usual in the
    literature see `best_subspan_em`. An answer that normalises to nothing ("The") matches only a
    response that does too, as in `exact_match`.
    """
    return float(f" {normalize(answer)} " in f" {normalize(response)} ")


def best_subspan_em(response: str, answer: str) -> float:
    """Return 1 if the normalised answer is a substring of the normalised response.

    This is the metric of that name in Liu et al. (2023), "Lost in the Middle", for one answer.
    Words need not be whole: "no" is found in "November", which `subspan_em` rules out. As in their
    definition, an answer that normalises to nothing is in every response.
    """
    return float(normalize(answer) in normalize(response))


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Return the metrics of one document."""
    response, answer = results[0], doc["answer"]
    return {
        "exact_match": exact_match(response, answer),
        "f1": f1(response, answer),
        "subspan_em": subspan_em(response, answer),
        "best_subspan_em": best_subspan_em(response, answer),
        **length_metrics(response, answer),
    }
