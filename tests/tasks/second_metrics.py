"""A second implementation of the metrics, written from their definitions."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from functools import cache
from itertools import chain, groupby

from nltk.stem.porter import PorterStemmer
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a


def squad_tokens(text: str) -> list[str]:
    kept = "".join(c for c in text.lower() if c not in set(string.punctuation))
    runs = ["".join(run) for _, run in groupby(kept, lambda c: c.isalnum() or c == "_")]
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def exact_match(response: str, answer: str) -> float:
    return 1.0 if squad_tokens(response) == squad_tokens(answer) else 0.0


def f1(response: str, answer: str) -> float:
    got, gold = squad_tokens(response), squad_tokens(answer)
    for special in (["yes"], ["no"], ["noanswer"]):
        if special in (got, gold) and got != gold:
            return 0.0
    left, shared = list(gold), 0
    for token in got:
        if token in left:
            left.remove(token)
            shared += 1
    # the harmonic mean of shared/len(got) and shared/len(gold)
    return 2 * shared / (len(got) + len(gold)) if shared else 0.0


def subspan_em(response: str, answer: str) -> float:
    got, gold = squad_tokens(response), squad_tokens(answer)
    if not gold:
        return float(not got)
    return float(any(got[i : i + len(gold)] == gold for i in range(len(got))))


def best_subspan_em(response: str, answer: str) -> float:
    got, gold = (" ".join(squad_tokens(text)) for text in (response, answer))
    return float(any(got.startswith(gold, i) for i in range(len(got) + 1)))


def rouge_tokens(text: str) -> list[str]:
    stem = PorterStemmer().stem
    words = re.findall("[a-z0-9]+", text.lower())
    return [stem(word) if len(word) > 3 else word for word in words]


def rouge_n(response: str, summary: str, n: int) -> float:
    got, gold = (
        [tuple(t[i : i + n]) for i in range(len(t) - n + 1)]
        for t in (rouge_tokens(response), rouge_tokens(summary))
    )
    shared = sum(min(got.count(gram), gold.count(gram)) for gram in set(got))
    return 2 * shared / (len(got) + len(gold)) if shared else 0.0


def rouge_l(response: str, summary: str) -> float:
    got, gold = rouge_tokens(response), rouge_tokens(summary)
    table = [[0] * (len(gold) + 1) for _ in range(len(got) + 1)]
    for i, a in enumerate(got):
        for j, b in enumerate(gold):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
            )
    common = table[-1][-1]
    return 2 * common / (len(got) + len(gold)) if common else 0.0


def rouge_lsum(response: str, summary: str) -> float:
    """Return ROUGE-L of texts whose lines are sentences: unions of common subsequences."""
    got, gold = ([rouge_tokens(line) for line in x.split("\n")] for x in (response, summary))
    found = Counter(
        line[i]
        for line in gold
        for i in sorted({i for other in got for i in common_positions(tuple(line), tuple(other))})
    )
    # no word counts more often than it is in either text
    of_got, of_gold = (Counter(chain.from_iterable(lines)) for lines in (got, gold))
    shared = (found & of_got & of_gold).total()
    return 2 * shared / (of_got.total() + of_gold.total()) if shared else 0.0


def common_positions(gold: tuple[str, ...], got: tuple[str, ...]) -> list[int]:
    """Return where a longest common subsequence lies in the first of two lists of words.

    There may be several. Like rouge-score, this one leaves out the last words of the first list if
    that costs nothing.
    """

    @cache
    def positions(i: int, j: int) -> tuple[int, ...]:
        if not i or not j:
            return ()
        if gold[i - 1] == got[j - 1]:
            return (*positions(i - 1, j - 1), i - 1)
        return max(positions(i - 1, j), positions(i, j - 1), key=len)

    return list(positions(len(gold), len(got)))


def matches(got, gold, n: int) -> tuple[int, int, int]:
    """Return the number of n-grams that the two share, and the number in each."""
    grams = [[tuple(x[i : i + n]) for i in range(len(x) - n + 1)] for x in (got, gold)]
    rest, shared = list(grams[1]), 0
    for gram in grams[0]:
        if gram in rest:
            rest.remove(gram)
            shared += 1
    return shared, len(grams[0]), len(grams[1])


def bleu_13a(items: list[tuple[str, str]]) -> float:
    """Return corpus BLEU without smoothing; at least one 4-gram must match."""
    tokenize = Tokenizer13a()
    pairs = [(tokenize(got).split(), tokenize(gold).split()) for gold, got in items]
    log_precision = 0.0
    for n in range(1, 5):
        counts = [matches(got, gold, n) for got, gold in pairs]
        log_precision += math.log(sum(c[0] for c in counts) / sum(c[1] for c in counts)) / 4
    got_length, gold_length = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    return 100 * math.exp(log_precision + min(0.0, 1 - gold_length / got_length))


def chrf(items: list[tuple[str, str]]) -> float:
    pairs = [("".join(got.split()), "".join(gold.split())) for gold, got in items]
    precisions, recalls = [], []
    for n in range(1, 7):
        counts = [matches(got, gold, n) for got, gold in pairs]
        shared, of_got, of_gold = (sum(c[side] for c in counts) for side in range(3))
        if of_got and of_gold:
            precisions.append(shared / of_got)
            recalls.append(shared / of_gold)
    precision, recall = (sum(x) / len(x) for x in (precisions, recalls))
    return 100 * 5 * precision * recall / (4 * precision + recall)


def perturb(text: str, i: int, other: str) -> str:
    """Return a variant of the text, the i-th of ten, as a response."""
    words = text.split()
    return (
        text,
        text.upper(),
        " ".join(words[: max(1, 2 * len(words) // 3)]),
        f"It is {text}, I think.",
        " ".join(reversed(words)),
        text[: max(1, 3 * len(text) // 4)],
        f"{text} {other}",
        other,
        "",
        "The " + " ".join(words[1:]) + " a",
    )[i % 10]


def corpora(rows: list[dict]) -> list[tuple[str, str]]:
    """Return pairs of a reference and a perturbed response."""
    references = [row["reference"] for row in rows]
    return [
        (gold, perturb(gold, i, references[i - 1]).strip()) for i, gold in enumerate(references)
    ]


ENGLISH = [
    {"reference": f"In {y}, the town's {y % 7} mills (old, red) shut; 3.5% stayed."}
    for y in range(1900, 1960)
]
