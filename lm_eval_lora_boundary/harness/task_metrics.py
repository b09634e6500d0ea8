"""Metrics that the YAML files of the bundled tasks share: length ratios and corpus metrics.

They are in the package, not beside a YAML file, so that every process can unpickle them. lm-eval
loads a module beside a YAML file under a name that only one process knows.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from sacrebleu import BLEU, CHRF

from ..errors import require_package

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sacrebleu.metrics.base import Metric

    Item = tuple[str, str]  # reference, response
    Lengths = tuple[int, int]  # of the response, of the reference


class WholeResponse(str):
    """A response that a task's filter did not change.

    lm-eval does not tell ``process_results`` which filter a response went through. This type does.
    """

    __slots__ = ()


def length_metrics(response: str, reference: str) -> dict[str, float | Lengths]:
    """Return both length ratios of one document, with lengths in words.

    Returns:
        ``length_ratio``, a number to be averaged over documents, and ``length_ratio_corpus``, the
        two lengths, which :func:`length_ratio_corpus` sums.
    """
    return _length_metrics(len(response.split()), len(reference.split()))


def length_metrics_characters(response: str, reference: str) -> dict[str, float | Lengths]:
    """Return the same, with lengths in characters, for text written without spaces.

    Whitespace does not count.
    """
    return _length_metrics(_characters(response), _characters(reference))


def length_ratio_corpus(items: Sequence[Lengths]) -> float:
    """Return the length of all responses divided by the length of all references.

    A mean of ratios weighs every document the same, so the shortest references decide it. Here a
    document weighs as much as its reference is long. sacrebleu's ``ratio`` is defined likewise, but
    counts the tokens of its tokenizer. References that are all empty count as one word.
    """
    responses, references = zip(*items, strict=True)
    return float(sum(responses) / max(1, sum(references)))


def _length_metrics(response: int, reference: int) -> dict[str, float | Lengths]:
    ratio = response / max(1, reference)  # an empty reference counts as one word or character
    return {"length_ratio": ratio, "length_ratio_corpus": (response, reference)}


def _characters(text: str) -> int:
    return sum(not character.isspace() for character in text)


def bleu(items: Sequence[Item]) -> float:
    """Return corpus BLEU (0-100) with sacrebleu's default tokenizer ``13a``."""
    return _bleu(items, "")


def bleu_zh(items: Sequence[Item]) -> float:
    """Return corpus BLEU (0-100) of Chinese responses, tokenizer ``zh``."""
    return _bleu(items, "zh")


def bleu_ja(items: Sequence[Item]) -> float:
    """Return corpus BLEU (0-100) of Japanese responses, tokenizer ``ja-mecab``.

    Raises:
        MissingPackageError: The tokenizer is not installed.
    """
    require_japanese()
    return _bleu(items, "ja")


def _bleu(items: Sequence[Item], target_language: str) -> float:
    return _score(items, _bleu_scorer(target_language))


@cache
def _bleu_scorer(target_language: str) -> BLEU:
    return BLEU(trg_lang=target_language)


@cache
def _chrf_scorer() -> CHRF:
    return CHRF()


def _score(items: Sequence[Item], scorer: Metric) -> float:
    """Return a corpus score, as ``scorer.corpus_score`` does.

    lm-eval 0.5 computes it on 100,000 resamples of the documents, so what is counted in a document
    is kept. Scores are computed from the sums over documents.
    """
    counts = [_counts(scorer, *item) for item in items]
    return float(
        scorer._compute_score_from_stats([sum(each) for each in zip(*counts, strict=True)]).score
    )


@lru_cache(maxsize=100_000)
def _counts(scorer: Metric, reference: str, response: str) -> Sequence[int]:
    found: list[Sequence[int]] = scorer._extract_corpus_statistics([response], [[reference]])
    return found[0]


def require_japanese() -> None:
    """Refuse to go on without the Japanese tokenizer of sacrebleu.

    Raises:
        MissingPackageError: It is not installed.
    """
    require_package("MeCab", "ipadic", extra="ja", what="BLEU of Japanese")


def chrf(items: Sequence[Item]) -> float:
    """Return corpus chrF2 (0-100) with sacrebleu's defaults.

    lm-eval's own ``chrf`` gives the same number. But it then computes many more corpus scores for a
    bootstrapped standard error, which takes minutes for one language pair.
    """
    return _score(items, _chrf_scorer())
