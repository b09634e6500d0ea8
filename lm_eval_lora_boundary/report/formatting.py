"""Numbers and names as text."""

from __future__ import annotations

from collections.abc import Iterable

NOT_AVAILABLE = "–"
_SPACE = "\u00a0"  # does not break


def integer(value: int) -> str:
    """Return an integer with a true minus sign."""
    return str(value).replace("-", "−")


def number(value: float | None) -> str:
    """Return a metric's value, to about three digits."""
    if value is None:
        return NOT_AVAILABLE
    return f"{value:.{_digits(value)}f}".replace("-", "−")


def shows(value: float) -> bool:
    """Tell whether a value is more than zero as it is shown."""
    return float(f"{value:.3f}") > 0


def signed(value: float | None, digits: int | None = None) -> str:
    """Return a difference with its sign."""
    if value is None:
        return NOT_AVAILABLE
    text = f"{value:+.{_digits(value) if digits is None else digits}f}"
    # a rounded zero has no sign
    return text.replace("-", "−") if float(text) else text[1:]


def interval(low: float | None, high: float | None) -> str:
    """Return an interval; nothing where it is not available."""
    if low is None or high is None:
        return ""
    digits = min(_digits(low), _digits(high))
    return f"[{signed(low, digits)},{_SPACE}{signed(high, digits)}]"


def probability(value: float | None) -> str:
    """Return a p-value, to about two digits."""
    if value is None:
        return NOT_AVAILABLE
    if value < 0.001:
        return f"<{_SPACE}0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def p_value(value: float) -> str:
    """Return a p-value as it stands in a sentence."""
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


def metric_name(key: str) -> str:
    """Return how a metric is called: its name, and its filter if that says something."""
    name, _, filter_name = key.partition(",")
    return name if filter_name in ("", "none") else f"{name} ({filter_name})"


def count(documents: int | None, split: str | None = None) -> str:
    """Return a number of documents in words."""
    kind = f"{split} " if split else ""
    if documents is None:
        return f"the {kind}documents"
    return f"{documents:,} {kind}{'document' if documents == 1 else 'documents'}"


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and last of each run of consecutive numbers, which are ascending."""
    found: list[tuple[int, int]] = []
    for each in numbers:
        if found and each == found[-1][1] + 1:
            found[-1] = (found[-1][0], each)
        else:
            found.append((each, each))
    return found


def _digits(value: float) -> int:
    """Return how many decimals a number of this size needs."""
    size = abs(value)
    return 3 if size < 10 else 2 if size < 100 else 1
