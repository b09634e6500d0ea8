"""The prompt, gold answer and model answer in one of lm-eval's samples, as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """The model's answer to a document.

    Attributes:
        text: The response, the chosen option, or the log-likelihood.
        extracted: What lm-eval's filter extracted from the response; None if it is the same.
        value: The metric on this document; None if the metric has no value for single documents.
    """

    text: str
    extracted: str | None
    value: float | None


def is_logged(sample: Sample) -> bool:
    """Return whether arguments and responses have the form in which lm-eval logs them."""
    arguments, responses = sample.get("arguments") or {}, sample.get("resps") or []
    return (
        isinstance(arguments, dict)
        and all(name.rpartition("_")[2].isdecimal() for name in arguments)
        and all(isinstance(request, dict) for request in arguments.values())
        and isinstance(responses, list)
        and all(isinstance(each, list) for each in responses)
        and isinstance(sample.get("filtered_resps") or [], list)
    )


def prompt(sample: Sample) -> str:
    """Return the prompt of a document."""
    return str(_requests(sample)[0].get("arg_0", ""))


def gold(sample: Sample) -> str:
    """Return the gold answer; for multiple choice, the text of the option."""
    target = str(sample.get("target", ""))
    options = _options(sample)
    if len(options) > 1 and target.isdecimal() and int(target) < len(options):
        return options[int(target)]
    return target


def answer(sample: Sample, metric: str) -> Answer:
    """Return the model's answer and its value under a metric, given without a filter."""
    extracted = None
    written = [isinstance(request.get("arg_1"), Mapping) for request in _requests(sample)]
    if written[0]:  # generated text
        # readers do not see spaces at the ends
        text = "\n\n".join(map(str, (sample.get("resps") or [[]])[0])).strip()
        # a task may have a text scored besides
        responses = (sample.get("filtered_resps") or [])[: written.count(True)]
        filtered = "\n".join(map(str, responses)).strip()
        if filtered != text:
            extracted = filtered
    else:
        text = _scored_text(sample)
    value = sample.get(metric)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return Answer(text, extracted, None)
    return Answer(text, extracted, float(value))


def common_start(texts: Sequence[str]) -> str:
    """Return the longest common prefix of at least two texts; otherwise an empty text."""
    if len(texts) < 2:
        return ""
    first, last = min(texts), max(texts)
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((i for i, (a, b) in pairs if a != b), len(first))]


def _requests(sample: Sample) -> list[Mapping[str, Any]]:
    """Return the arguments of a document's requests in order."""
    arguments = sample.get("arguments") or {}
    # sort by number: gen_args_10 comes after gen_args_9
    names = sorted(arguments, key=lambda name: int(name.rpartition("_")[2]))
    return [arguments[name] for name in names] or [{}]


def _options(sample: Sample) -> list[str]:
    """Return the options of a multiple-choice document."""
    requests = _requests(sample)
    texts = [str(request.get("arg_1", "")) for request in requests]
    if len(set(texts)) == 1:
        # the same continuation for several contexts: the contexts are the options
        texts = [str(request.get("arg_0", "")) for request in requests]
        common = len(common_start(texts))
        texts = [text[common:] for text in texts]
    return [text.strip() for text in texts]


def _scored_text(sample: Sample) -> str:
    """Return the most likely option, or the log-likelihood if only one text was scored."""
    scores = [_score(responses) for responses in sample.get("resps") or []]
    options = _options(sample)
    if len(options) > 1 and len(scores) >= len(options):
        # some metrics add requests without a context, for unconditional likelihoods
        with_context = [i for i, request in enumerate(_requests(sample)) if request.get("arg_0")]
        candidates = with_context or range(len(options))
        return options[max(candidates, key=lambda i: scores[i][0])]
    if not scores or not math.isfinite(scores[0][0]):
        return "–"
    value, greedy = scores[0]
    text = f"log-likelihood {value:.4f}".replace("-", "−").replace("log−", "log-")
    return f"{text}, {greedy}" if greedy else text


def _score(responses: Sequence[Any]) -> tuple[float, str]:
    """Return a log-likelihood and, in words, whether it is that of the greedy choice."""
    first = responses[0] if responses else "nan"
    pair = isinstance(first, list) and len(first) > 1
    value, greedy = (first[0], str(first[1])) if pair else (first, "")
    words = {"True": "the greedy choice", "False": "not the greedy choice"}
    try:
        return float(value), words.get(greedy, "")
    except (ValueError, TypeError):
        return math.nan, ""
