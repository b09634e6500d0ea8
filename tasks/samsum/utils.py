"""Documents and metrics of SAMSum."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from datasets import DatasetDict, load_dataset

from lm_eval_lora_boundary.harness.task_metrics import length_metrics

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

_METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def load(**_metadata: Any) -> DatasetDict:
    """Return the official splits without dialogues that are in a later split.

    The corpus repeats some dialogues under new ids, also across splits. The test split stays
    complete. One row of the train split has no dialogue and is left out.

    Args:
        **_metadata: Arguments that lm-eval adds from the task's metadata and ``--metadata``.
    """
    official = load_dataset("knkarthick/samsum")
    seen: set[str] = set()
    splits = {}
    for split in ("test", "validation", "train"):
        keys = [_key(dialogue) for dialogue in official[split]["dialogue"]]
        splits[split] = official[split].select(
            [i for i, key in enumerate(keys) if key and key not in seen]
        )
        seen.update(keys)
    return DatasetDict(splits)


def _key(dialogue: str | None) -> str:
    """Return the dialogue without the differences between copies: letter case and whitespace."""
    return " ".join((dialogue or "").casefold().split())


@cache
def _scorer() -> RougeScorer:
    # rouge-score imports nltk, which takes time: wait until there is something to score
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(_METRICS, use_stemmer=True)


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """Return the metrics of one document; ROUGE is an F-measure between 0 and 1.

    To ``rougeL`` a text is one sentence. To ``rougeLsum`` every line is one, as rouge-score splits.
    """
    response, summary = results[0], doc["summary"]
    scores = _scorer().score(target=summary, prediction=response)
    return {
        **{name: scores[name].fmeasure for name in _METRICS},
        **length_metrics(response, summary),
    }
