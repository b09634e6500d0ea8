"""What one of lm-eval's samples says was asked and answered, as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What was answered.

    Attributes:
        text: The response, the chosen option, or the log-likelihood.
        read_as: What the filter read out of the response, if that is something else.
        value: The metric for this document; None if it is none of a single document.
    """

    text: str
    read_as: str | None
    value: float | None


def prompt(sample: Sample) -> str:
    """Return what the model was given."""
    return str(_requests(sample)[0].get("arg_0", ""))


def gold(sample: Sample) -> str:
    """Return what the model should answer; of options, the text and not the number."""
    target = str(sample.get("target", ""))
    options = _options(sample)
    if len(options) > 1 and target.isdecimal() and int(target) < len(options):
        return options[int(target)]
    return target


def answer(sample: Sample, metric: str) -> Answer:
    """Return what the model answered.

    Args:
        sample: The sample.
        metric: Name of the metric, without a filter.
    """
    if isinstance(_requests(sample)[0].get("arg_1"), Mapping):
        # spaces at the ends are no difference that a reader sees
        text = "\n\n".join(map(str, (sample.get("resps") or [[]])[0])).strip()
        read = "\n".join(map(str, sample.get("filtered_resps") or [])).strip()
        read_as = read if read != text else None
    else:
        text, read_as = _scored(sample), None
    value = sample.get(metric)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return Answer(text, read_as, None)
    return Answer(text, read_as, float(value))


def common_start(texts: Sequence[str]) -> str:
    """Return what all texts begin with; nothing for fewer than two."""
    if len(texts) < 2:
        return ""
    first, last = min(texts), max(texts)
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((i for i, (a, b) in pairs if a != b), len(first))]


def _requests(sample: Sample) -> list[Mapping[str, Any]]:
    """Return the arguments of a document's requests, in order."""
    arguments = sample.get("arguments") or {}
    # lm-eval numbers them: gen_args_10 comes after gen_args_9
    names = sorted(arguments, key=lambda name: int(name.rpartition("_")[2]))
    return [arguments[name] for name in names] or [{}]


def _options(sample: Sample) -> list[str]:
    """Return the texts that a multiple-choice document chooses from."""
    requests = _requests(sample)
    texts = [str(request.get("arg_1", "")) for request in requests]
    if len(set(texts)) == 1:
        # one ending for several contexts: the contexts are the options
        texts = [str(request.get("arg_0", "")) for request in requests]
        common = len(common_start(texts))
        texts = [text[common:] for text in texts]
    return [text.strip() for text in texts]


def _scored(sample: Sample) -> str:
    """Return the most likely option, or the likelihood of the only text that was scored."""
    scores = [_score(responses) for responses in sample.get("resps") or []]
    options = _options(sample)
    if len(options) > 1 and len(scores) >= len(options):
        # unconditional likelihoods, where a metric asks for them, come without a context
        asked = [i for i, each in enumerate(_requests(sample)) if each.get("arg_0")]
        candidates = asked or range(len(options))
        return options[max(candidates, key=lambda i: scores[i][0])]
    if not scores or not math.isfinite(scores[0][0]):
        return "–"
    value, greedy = scores[0]
    text = f"log-likelihood {value:.4f}".replace("-", "−").replace("log−", "log-")
    return f"{text}, {greedy}" if greedy else text


def _score(responses: Sequence[Any]) -> tuple[float, str]:
    """Return a log-likelihood and whether greedy decoding would say the same, in words."""
    first = responses[0] if responses else "nan"
    value, greedy = (first[0], str(first[1])) if isinstance(first, list) else (first, "")
    words = {"True": "the greedy choice", "False": "not the greedy choice"}
    try:
        return float(value), words.get(greedy, "")
    except ValueError:
        return math.nan, ""
