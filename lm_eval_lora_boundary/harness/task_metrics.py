"""Metrics that the YAML files of the bundled tasks share: length ratios and corpus metrics.

They are in the package, not beside a YAML file, so that every process can unpickle them. lm-eval
loads a module beside a YAML file under a name that only one process knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sacrebleu import BLEU, CHRF

if TYPE_CHECKING:
    from collections.abc import Sequence

    Item = tuple[str, str]  # reference, response


class WholeResponse(str):
    """A response that a task's filter did not change.

    lm-eval does not tell ``process_results`` which filter a response went through. This type does.
    """

    __slots__ = ()


def length_ratio(response: str, reference: str) -> float:
    """Return response words divided by reference words; an empty reference counts as one word."""
    return len(response.split()) / max(1, len(reference.split()))


def length_ratio_characters(response: str, reference: str) -> float:
    """Return the ratio of characters other than whitespace, for text written without spaces."""
    return _characters(response) / max(1, _characters(reference))


def _characters(text: str) -> int:
    return sum(not character.isspace() for character in text)


def bleu(items: Sequence[Item]) -> float:
    """Return corpus BLEU (0-100) with sacrebleu's default tokenizer ``13a``."""
    return _bleu(items, "")


def bleu_zh(items: Sequence[Item]) -> float:
    """Return corpus BLEU (0-100) of Chinese responses, tokenizer ``zh``."""
    return _bleu(items, "zh")


def bleu_ja(items: Sequence[Item]) -> float:
    """Return corpus BLEU (0-100) of Japanese responses, tokenizer ``ja-mecab``."""
    return _bleu(items, "ja")


def _bleu(items: Sequence[Item], target_language: str) -> float:
    references, responses = zip(*items, strict=True)
    return float(BLEU(trg_lang=target_language).corpus_score(responses, [references]).score)


def chrf(items: Sequence[Item]) -> float:
    """Return corpus chrF2 (0-100) with sacrebleu's defaults.

    lm-eval's own ``chrf`` gives the same number. But it then computes a hundred more corpus scores
    for a bootstrapped standard error, which takes minutes for one language pair.
    """
    references, responses = zip(*items, strict=True)
    return float(CHRF().corpus_score(responses, [references]).score)
