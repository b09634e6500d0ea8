"""Documents of GSM8K, and its metrics: exact match of the extracted number, and length ratios."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from datasets import DatasetDict, load_dataset
from lm_eval.api.filter import Filter

from lm_eval_lora_boundary.harness.task_metrics import WholeResponse, length_metrics
from lm_eval_lora_boundary.upstream.lm_eval import exact_match, filtered

# The options in the metric_list of lm-eval's gsm8k 3.0. They are here because lm-eval ignores them
# in a YAML file that sets process_results.
_EXACT_MATCH = {
    "ignore_case": True,
    "ignore_punctuation": False,
    "regexes_to_ignore": [",", r"\$", r"(?s).*#### ", r"\.$"],
}


# The hub has no validation split: ours is the first tenth of its train split.
_SPLITS = {"train": "train[10%:]", "validation": "train[:10%]", "test": "test"}


def load(**_metadata: Any) -> DatasetDict:
    """Return our splits.

    Args:
        **_metadata: Arguments that lm-eval adds from the task's metadata and ``--metadata``.
    """
    return DatasetDict(load_dataset("openai/gsm8k", "main", split=_SPLITS))


class WholeResponseFilter(Filter):
    """Takes the first response to each document and marks it as whole."""

    def apply(self, resps: Iterable[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[Any]:
        """Return the marked response to each document."""
        return filtered([WholeResponse(responses[0]) for responses in resps])


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Return the length ratios of a whole response, or the exact match of an extracted answer."""
    response, answer = results[0], doc["answer"]
    if isinstance(response, WholeResponse):
        return length_metrics(response, answer)
    return {"exact_match": exact_match(response, answer, **_EXACT_MATCH)}
