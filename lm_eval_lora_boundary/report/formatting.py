"""Numbers and names as text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

SIGNIFICANT = 1 - 0.95  # p-values up to this are, as in the decision that a sweep wrote
NOT_AVAILABLE = "–"
# metrics that are a share, and those that sacrebleu gives in percent
_SHARES = frozenset({"acc", "acc_norm", "em", "exact_match", "f1", "subspan_em"})
_PERCENTAGES = frozenset({"bleu", "chrf"})
# whatever values were seen, others are possible
_NO_LIMITS = ("length_ratio", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte")
_NUMBERS = re.compile(r"\[[^\][]{1,40}\]|\bp [=<] [\d.]+|\d %")
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_MOST_RANGES = 3  # more of them are hard to read in a sentence
_SPACE = "\u00a0"  # does not break


def integer(value: int) -> str:
    """Return an integer with a true minus sign."""
    return str(value).replace("-", "−")


def called(cut: int | str) -> str:
    """Return what to call a cut: by its boundary, or as it is written for ``keep=``."""
    return f"boundary {integer(cut)}" if isinstance(cut, int) else f"keep={cut}"


def named(cut: int | str, full: int | None) -> str:
    """Return what to call a cut that may be one of the two ends."""
    if cut == -1:
        return "base model"
    return "whole adapter" if cut == full else called(cut)


def short(text: str, length: int = 20) -> str:
    """Return a text that fits into a legend or a narrow column."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def what_is_kept(cut: int | str) -> str:
    """Return in words what a cut keeps; of many ranges only the number of layers.

    Args:
        cut: A boundary, or a cut in its notation.
    """
    if isinstance(cut, int):
        cut = "none" if cut < 0 else f"0-{cut}" if cut else "0"
    if cut == "none":
        return "no layer"
    ranges = [part.partition("@") for part in cut.split("+")]
    if ranges[0][0] == "all":
        return "the whole adapter" + _at(ranges[0][2])
    if len(ranges) > _MOST_RANGES:
        ends = [[int(end) for end in re.findall(r"\d+", layers)] for layers, _, _ in ranges]
        return f"{sum(each[-1] - each[0] + 1 for each in ends)} layers"
    parts = [layers.replace("-", "–") + _at(strength) for layers, _, strength in ranges]
    start = "layer" if len(ranges) == 1 and ranges[0][0].isdecimal() else "layers"
    return f"{start} {' and '.join(filter(None, (', '.join(parts[:-1]), parts[-1])))}"


def _at(strength: str) -> str:
    return f" at strength {strength.replace('-', '−')}" if strength else ""


def number(value: float | None) -> str:
    """Return a metric's value with about three digits."""
    if value is None:
        return NOT_AVAILABLE
    return f"{value:.{_digits(value)}f}".replace("-", "−")


def shows(value: float) -> bool:
    """Return whether a value is above zero after rounding for display."""
    return float(f"{value:.3f}") > 0


def signed(value: float | None, digits: int | None = None) -> str:
    """Return a difference with its sign."""
    if value is None:
        return NOT_AVAILABLE
    text = f"{value:+.{_digits(value) if digits is None else digits}f}"
    # no sign if it rounds to zero
    return text.replace("-", "−") if float(text) else text[1:]


def limits(
    metric: str, values: Iterable[float | None], scale: float | None
) -> tuple[float, float] | None:
    """Return the smallest and the largest value that a metric can have; None if not known.

    Args:
        metric: Its name, or lm-eval's key.
        values: The values of the metric that were seen.
        scale: How much one document can lose: 1 for values between 0 and 1. None if not known.
    """
    name = metric.partition(",")[0]
    known = [value for value in values if value is not None]
    if name.startswith(_NO_LIMITS) or not known or min(known) < 0:
        return None
    if max(known) <= 1 and (scale == 1 or name in _SHARES):
        return 0.0, 1.0
    return (0.0, 100.0) if name in _PERCENTAGES and max(known) <= 100 else None


def clipped(
    low: float | None, high: float | None, ends: tuple[float, float] | None
) -> tuple[float | None, float | None]:
    """Return the ends of an interval for display, without what is not possible.

    Args:
        low: The lower end.
        high: The upper end.
        ends: What is possible, from :func:`limits` or :func:`spread`; None if that is not known.
    """
    if low is None or high is None or ends is None:
        return low, high
    return min(max(low, ends[0]), ends[1]), min(max(high, ends[0]), ends[1])


def spread(ends: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the smallest and the largest possible difference between two values."""
    return None if ends is None else (ends[0] - ends[1], ends[1] - ends[0])


def interval(low: float | None, high: float | None) -> str:
    """Return an interval; an empty text if it is not available."""
    if low is None or high is None:
        return ""
    digits = min(_digits(low), _digits(high))
    return f"[{signed(low, digits)},{_SPACE}{signed(high, digits)}]"


def span(low: float | None, high: float | None) -> str:
    """Return the interval of a value; an empty text if it is not available."""
    if low is None or high is None:
        return ""
    return f"[{number(low)},{_SPACE}{number(high)}]"


def hundredths(share: float) -> str:
    """Return a share in percent, which may be negative or above 100."""
    if abs(share) >= 10:
        return f"{share:.0f}×".replace("-", "−")
    # no sign if it rounds to zero
    return f"{100 * share:.0f}{_SPACE}%".replace("-0", "0").replace("-", "−")


def share_of_gain(margin: str | None) -> float | None:
    """Return a margin that is a share of the gain, such as ``10%``; None for any other."""
    return float(margin[:-1]) / 100 if margin is not None and margin.endswith("%") else None


def probability(value: float | None) -> str:
    """Return a p-value with about two digits."""
    if value is None:
        return NOT_AVAILABLE
    if value < 0.001:
        return f"<{_SPACE}0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def p_value(value: float) -> str:
    """Return a p-value for use in a sentence: p = ..."""
    shown = probability(value)
    sign = "" if shown.startswith("<") else f"={_SPACE}"
    return f"p{_SPACE}{sign}{shown}"


def percent(value: float | None) -> str:
    """Return a share in percent."""
    if value is None:
        return NOT_AVAILABLE
    if 0 < value < 0.005:
        return f"<{_SPACE}1{_SPACE}%"
    return f">{_SPACE}99{_SPACE}%" if 0.995 <= value < 1 else f"{100 * value:.0f}{_SPACE}%"


def size(part: float, whole: float) -> str:
    """Return a number of bytes out of another, in MB or another unit; alone if it is all."""
    scale, unit = next((each for each in _UNITS if whole >= each[0]), (1.0, "bytes"))
    digits = 0 if scale == 1 else 1
    texts = dict.fromkeys(f"{each / scale:,.{digits}f}" for each in (part, whole))
    return f"{' of '.join(texts)}{_SPACE}{unit}"


def unbroken(sentence: str) -> str:
    """Return a sentence whose numbers do not break over lines: intervals, p-values, percent."""
    return _NUMBERS.sub(lambda match: match[0].replace(" ", _SPACE), sentence)


def metric_name(key: str) -> str:
    """Return the name of a metric, with its filter if it has one."""
    name, _, filter_name = key.partition(",")
    return name if filter_name in ("", "none") else f"{name} ({filter_name})"


def count(documents: int | None, split: str | None = None) -> str:
    """Return a number of documents as text."""
    kind = f"{split} " if split else ""
    if documents is None:
        return f"the {kind}documents"
    return f"{documents:,} {kind}{'document' if documents == 1 else 'documents'}"


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and last number of each run of consecutive, ascending numbers."""
    # within a run, the difference between number and position is constant
    groups = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    members = [[number for _, number in group] for _, group in groups]
    return [(run[0], run[-1]) for run in members]


def _digits(value: float) -> int:
    """Return how many decimals to show."""
    size = abs(value)
    return 3 if size < 10 else 2 if size < 100 else 1
